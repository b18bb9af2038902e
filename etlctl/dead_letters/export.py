"""Dead letters to a file: one JSON document a line, all of them or no file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO

from redis import Redis

from common.errors import EtlError
from common.state.dead_letters import DeadLetters, Letter
from common.state.keys import Keys
from etlctl.dead_letters.payloads import as_members, with_payloads


def refuse_existing(file: Path, *, force: bool) -> None:
    """Raise :class:`EtlError` where ``file`` must not or cannot be written, before any work."""
    if file.is_dir():
        raise EtlError(f"{file} is a directory")
    if not force and os.path.lexists(file):
        raise EtlError(f"{file} exists: name another file, or say --force to replace it")


def export(
    redis: Redis,
    keys: Keys,
    letters: Iterable[Letter],
    file: Path,
    *,
    force: bool,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Write all ``letters`` to ``file``; how many of them have lost their payload.

    The file appears under its name only when it is whole. Raises :class:`EtlError` when it cannot
    be written, and when a letter was replayed or purged meanwhile.
    """
    refuse_existing(file, force=force)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name[:100]}.", dir=file.parent)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as out:
                lost = _write(redis, keys, letters, out, progress)
                out.flush()
                os.fsync(out.fileno())
            _publish(name, file, force=force)
        finally:
            if os.path.lexists(name):
                os.unlink(name)
    except OSError as error:
        raise EtlError(f"{file}: cannot be written: {error.strerror or error}") from None
    return lost


def document(letter: Letter, payload: bytes | None) -> dict[str, object]:
    """A letter with everything that is known of it, as plain data."""
    known = asdict(letter)
    del known["payload_key"]  # where it lies, not what it is
    return {**known, **as_members(payload)}


def _write(
    redis: Redis,
    keys: Keys,
    letters: Iterable[Letter],
    out: IO[str],
    progress: Callable[[], None],
) -> int:
    lost = 0
    dead = DeadLetters(redis, keys)
    for letter, payload in with_payloads(redis, keys, letters):
        if payload is None:
            _still_there(dead, letter)
            lost += 1
        out.write(json.dumps(document(letter, payload), ensure_ascii=False) + "\n")
        progress()
    return lost


def _still_there(dead: DeadLetters, letter: Letter) -> None:
    try:
        dead.get(letter.id)
    except EtlError:
        raise EtlError(
            f"dead letter {letter.id} was replayed or purged meanwhile: export again"
        ) from None


def _publish(name: str, file: Path, *, force: bool) -> None:
    """Give the finished file its name. Without ``force`` one that appeared meanwhile stays."""
    if force:
        os.replace(name, file)
        return
    try:
        os.link(name, file)
    except FileExistsError:
        raise EtlError(f"{file} exists: name another file, or say --force to replace it") from None
    except OSError:
        # A file system without hard links: the check is all there is.
        refuse_existing(file, force=False)
        os.replace(name, file)
