"""The directory that secrets are kept in: private, and each file written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from common.secret_files import secret_text

FOLDER_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077
OTHERS_WRITE = 0o022
MAX_BYTES = 64 * 1024

_TEMPORARY = ".part"


@dataclass(frozen=True, slots=True)
class Folder:
    """An open directory of secrets; made by :func:`open_folder`.

    Everything goes through the directory's descriptor, so that nobody can put another directory in
    its place meanwhile. Errors are :class:`ConfigError` and never contain a secret.
    """

    path: Path
    fd: int
    tightened: bool

    def where(self, name: str) -> str:
        """The file as a person knows it."""
        return str(self.path / name)

    def is_open_to_others(self) -> bool:
        """Whether others can list the directory or reach into it."""
        return bool(stat.S_IMODE(os.fstat(self.fd).st_mode) & OTHERS)

    def has(self, name: str) -> bool:
        """Whether there is anything of this name."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """The file's content; it has to be a regular file, not a link to one."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.fd)
        except OSError as error:
            raise ConfigError(f"{self.where(name)}: {_why_not_read(error)}") from None
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"{self.where(name)}: is not a regular file")
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{self.where(name)}: is larger than {MAX_BYTES} bytes")
        return content

    def read_password(self, name: str) -> str:
        """The password in the file, taken out of its content as every service does."""
        content = self.read(name)
        try:
            return secret_text(content)
        except ValueError as error:
            raise ConfigError(f"{self.where(name)}: {error}") from None

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that does not exist yet; False, and nothing is touched, if it does."""
        with self._written_aside(name, content) as temporary:
            try:
                # Unlike a rename, a link never replaces what is there.
                os.link(
                    temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False
                )
            except FileExistsError:
                return False
        os.fsync(self.fd)
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Write a file anew; whoever reads it meanwhile sees the old one or the new one."""
        with self._written_aside(name, content) as temporary:
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        os.fsync(self.fd)

    def exposure(self, name: str) -> str | None:
        """What is wrong with the file's kind, mode or owner; None if nothing is."""
        status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return f"{self.where(name)}: is a symbolic link: put the file itself there"
        if not stat.S_ISREG(status.st_mode):
            return f"{self.where(name)}: is not a regular file"
        mode = stat.S_IMODE(status.st_mode)
        if mode & OTHERS:
            return (
                f"{self.where(name)}: is open to others (mode {mode:04o}): rotate it, or close it "
                f"with chmod 600 {self.where(name)}"
            )
        owner = os.fstat(self.fd).st_uid
        if status.st_uid != owner:
            return (
                f"{self.where(name)}: belongs to uid {status.st_uid}, its directory to uid {owner}"
            )
        return None

    @contextmanager
    def _written_aside(self, name: str, content: bytes) -> Iterator[str]:
        """A whole file under a temporary name, which goes away with the block."""
        temporary = f".{name}.{secrets.token_hex(8)}{_TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            fd = os.open(temporary, flags, FILE_MODE, dir_fd=self.fd)
            try:
                with open(fd, "wb") as file:
                    if os.geteuid() == 0:  # with sudo in somebody's directory: theirs, not root's
                        owner = os.fstat(self.fd)
                        os.fchown(fd, owner.st_uid, owner.st_gid)
                    file.write(content)
                    file.flush()
                    os.fsync(fd)
                yield temporary
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=self.fd)
        except OSError as error:
            raise ConfigError(f"{self.where(name)}: cannot be written: {error.strerror}") from None


@contextmanager
def open_folder(path: Path, *, create: bool = False) -> Iterator[Folder]:
    """Open the directory, alone: others who want it wait.

    ``create`` makes it where it is missing, and closes one that is open to others. Raises
    :class:`ConfigError` for a directory that a secret must not be put in.
    """
    if create:
        _make(path)
    fd = _open(path)
    try:
        alone = _lock(fd)
        tightened = create and bool(stat.S_IMODE(os.fstat(fd).st_mode) & OTHERS)
        if tightened:
            os.fchmod(fd, FOLDER_MODE)
        folder = Folder(path, fd, tightened)
        if create and alone:
            _sweep(folder)
        yield folder
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:  # a file system that does not lock directories; every step is atomic anyway
        return False
    return True


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None


def _open(path: Path) -> int:
    if path.is_symlink():
        raise ConfigError(f"{path}: is a symbolic link: name the directory itself")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise ConfigError(f"{path}: is not there: make it with `etlctl secrets init`") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be opened: {error.strerror}") from None
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    why = None
    if mode & OTHERS_WRITE:
        why = (
            f"can be written by others (mode {mode:04o}), who may have put something there: check "
            f"what it holds, then chmod 700 {path}"
        )
    elif os.geteuid() not in (0, status.st_uid):
        why = f"belongs to uid {status.st_uid}, and you are uid {os.geteuid()}"
    if why is not None:
        os.close(fd)
        raise ConfigError(f"{path}: {why}")
    return fd


def _sweep(folder: Folder) -> None:
    """Remove what a killed run left behind; nobody else is writing while the lock is ours."""
    for name in os.listdir(folder.fd):
        if name.startswith(".") and name.endswith(_TEMPORARY):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder.fd)


def _why_not_read(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "is missing: make it with `etlctl secrets init`"
    if error.errno == errno.ELOOP:
        return "is a symbolic link: put the file itself there"
    return f"cannot be read: {error.strerror}"
