"""Follows a log file that grows, is rotated by renaming or by copying and truncating, or vanishes.

Each file is known by how it begins, because a rotated file changes its name, a copied one its
inode, and inodes are used again. Nothing that happens to the files is an error to the caller: it is
counted, and the next poll goes on with whatever is there.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.exporter.lines import HALF_WRITTEN, TOO_LONG

MAX_LINE_BYTES = 64 * 1024
MAX_BACKUPS = 99
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 512

# Why a file was begun: one that was there when we came, was there already rotated when we saw it
# first, took the place of one that was renamed, or is the same one truncated.
FOUND, ROTATED, REPLACED, TRUNCATED = "found", "rotated", "replaced", "truncated"
WHYS = (FOUND, ROTATED, REPLACED, TRUNCATED)
# Why the log cannot be read.
MISSING, DENIED, NOT_A_FILE, IO_ERROR = "missing", "denied", "not_a_file", "io_error"
PROBLEMS = (MISSING, DENIED, NOT_A_FILE, IO_ERROR)


@dataclass(slots=True)
class _File:
    """One file: how it begins, and up to where it was read.

    ``skipping``: within a line that is too long to be kept.
    """

    head: bytes = b""
    offset: int = 0
    skipping: bool = False

    def is_in(self, descriptor: int) -> bool:
        """Whether an open file is this one: it begins alike and is not shorter."""
        try:
            begins_alike = os.pread(descriptor, len(self.head), 0) == self.head
            return begins_alike and os.fstat(descriptor).st_size >= self.offset
        except OSError:
            return False


class Follower:
    """Gives the lines of ``path`` and of its backups ``path.1``, ``path.2``, … in their order.

    ``on_line`` gets each line without its line break, and returns None or why it cannot be used.
    Counted are the ``lines`` that were used, those ``skipped`` by reason, the files ``begun`` by
    what led to them, and the ``failures`` to read, each time that one began; ``problem`` is the
    present one. ``breaks`` are the times when the file read last was no longer there: any number
    of lines may be missing between it and what is there now.
    """

    def __init__(
        self,
        path: Path,
        on_line: Callable[[bytes], str | None],
        *,
        max_line_bytes: int = MAX_LINE_BYTES,
        chunk_bytes: int = _CHUNK_BYTES,
    ) -> None:
        self._path = path
        self._on_line = on_line
        self._max_line_bytes = max_line_bytes
        self._chunk_bytes = chunk_bytes
        self._descriptor: int | None = None
        self._current = _File()
        # What was read of the backups that are still there.
        self._backups: list[_File] = []
        self._newest: tuple[int, ...] | None = None
        self.lines = 0
        self.skipped: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.breaks = 0
        self.problem: str | None = None

    def poll(self, keep_on: Callable[[], bool] = lambda: True) -> None:
        """Read whatever is new; ``keep_on`` is called between two pieces of a file."""
        problem = None
        try:
            self._poll(keep_on)
        except OSError as error:
            problem = _problem(error)
        if problem is not None and problem != self.problem:
            self.failures[problem] += 1
        self.problem = problem

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _poll(self, keep_on: Callable[[], bool]) -> None:
        # Checked first: what is rotated from here on is seen by the next poll.
        newest = self._newest_backup()
        try:
            fresh = _open(self._path)
        except OSError:
            # Between a renaming and the next file, the rest of the old one may still be read.
            if self._descriptor is not None and self._current.is_in(self._descriptor):
                self._read(self._descriptor, self._current, keep_on)
            raise
        opened = self._descriptor
        in_place = opened is not None and _same(fresh, opened)
        if opened is not None and in_place and self._current.is_in(opened):
            if newest == self._newest or not self._read_backups(fresh, keep_on, unmoved=True):
                self._newest = newest
                os.close(fresh)
                self._read(opened, self._current, keep_on)
                return
        else:
            self._read_backups(fresh, keep_on)
        self._newest = newest
        self.close()
        self._descriptor, self._current = fresh, _File()
        self.begun[FOUND if opened is None else TRUNCATED if in_place else REPLACED] += 1
        self._read(fresh, self._current, keep_on)

    def _read_backups(
        self, fresh: int, keep_on: Callable[[], bool], *, unmoved: bool = False
    ) -> bool:
        """Read what is new in the backups, oldest first, and before them a file that was removed.

        With ``unmoved``, the open file seems to be what it was; True if a copy of it lies
        among the backups all the same, so that it was truncated and happens to begin alike again.
        """
        opened, current, copied, moved = self._descriptor, self._current, False, False
        known, self._backups = self._backups, []
        descriptors = self._open_backups(fresh)
        try:
            if opened is not None and not unmoved:
                known = [*known, current]
                moved = any(_same(opened, descriptor) for descriptor in descriptors)
                if not moved and current.is_in(opened):
                    self._read_last(opened, current, keep_on)
            for descriptor in reversed(descriptors):
                file = next((one for one in known if one.head and one.is_in(descriptor)), None)
                if file is not None:
                    known = [one for one in known if one is not file]
                elif unmoved and not copied and current.head and current.is_in(descriptor):
                    file, copied = current, True
                else:
                    file = _File()
                    self.begun[FOUND if opened is None else ROTATED] += 1
                self._backups.append(file)
                self._read_last(descriptor, file, keep_on)
            # Not ``in``: another file may begin alike.
            kept = any(one is current for one in self._backups)
            if not (opened is None or unmoved or moved or kept):
                self.breaks += 1
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return copied

    def _newest_backup(self) -> tuple[int, ...] | None:
        """What changes whenever another file becomes the newest backup, or that one grows."""
        try:
            found = os.stat(f"{self._path}.1")
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _open_backups(self, fresh: int) -> list[int]:
        """The backups, newest first: so none is overlooked that is renamed meanwhile."""
        found: list[int] = []
        for number in range(1, MAX_BACKUPS + 1):
            try:
                descriptor = _open(self._path.with_name(f"{self._path.name}.{number}"))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.failures[_problem(error)] += 1
                continue
            if any(_same(descriptor, other) for other in (fresh, *found)):
                os.close(descriptor)
            else:
                found.append(descriptor)
        return found

    def _read_last(self, descriptor: int, file: _File, keep_on: Callable[[], bool]) -> None:
        """Read a file that nobody writes to any more, to its very end."""
        try:
            rest = self._read(descriptor, file, keep_on)
        except OSError as error:
            self.failures[_problem(error)] += 1
            return
        if rest and keep_on():
            file.offset += len(rest)
            # Half a JSON object is none: what can be used only lacks its line break.
            self._take(rest, unusable=HALF_WRITTEN)

    def _read(self, descriptor: int, file: _File, keep_on: Callable[[], bool]) -> bytes:
        """Take every whole line from the file's offset on; what follows the last line break."""
        rest = b""
        while keep_on():
            chunk = os.pread(descriptor, self._chunk_bytes, file.offset + len(rest))
            if len(file.head) < _HEAD_BYTES:
                file.head = os.pread(descriptor, _HEAD_BYTES, 0)
            if not chunk:
                return rest
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                file.offset += len(line) + 1
                if file.skipping:
                    file.skipping = False
                else:
                    self._take(line)
            if file.skipping or len(rest) > self._max_line_bytes:
                if not file.skipping:
                    self.skipped[TOO_LONG] += 1
                file.skipping = True
                file.offset += len(rest)
                rest = b""
        return rest

    def _take(self, line: bytes, unusable: str | None = None) -> None:
        if len(line) > self._max_line_bytes:
            self.skipped[TOO_LONG] += 1
        elif line.strip():
            reason = self._on_line(line)
            if reason is None:
                self.lines += 1
            else:
                self.skipped[unusable or reason] += 1


def _open(path: Path) -> int:
    # A pipe in the file's place must not block us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(path)
    return descriptor


def _same(one: int, other: int) -> bool:
    return os.path.samestat(os.fstat(one), os.fstat(other))


def _problem(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MISSING
    if isinstance(error, PermissionError):
        return DENIED
    return NOT_A_FILE if isinstance(error, IsADirectoryError) else IO_ERROR
