"""The file that the loader reads its token from."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ConfigError
from common.secret_files import read_secret

FILE_MODE = 0o400
_OTHERS = 0o077


def read_token(path: Path) -> str | None:
    """The token, or None if there is none that can be used: missing, empty, open to others."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & _OTHERS:
            return None
        return read_secret(path)
    except (OSError, ValueError):
        return None


class NewToken:
    """A place for a token that is not known yet; made by :func:`room_for_token`."""

    def __init__(self, path: Path, part: Path, fd: int) -> None:
        self._path = path
        self._part = part
        self._fd = fd

    def put(self, token: str) -> None:
        """Write the file, whole or not at all. Raises :class:`ConfigError`."""
        try:
            with open(self._fd, "wb", closefd=False) as file:
                file.write(token.encode())
                file.flush()
                os.fsync(self._fd)
            self._part.replace(self._path)
        except OSError as error:
            raise _cannot(self._path, error) from None


@contextmanager
def room_for_token(path: Path) -> Iterator[NewToken]:
    """Make sure that a token can be written before there is one. Raises :class:`ConfigError`."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise _cannot(path, error) from None
    try:
        yield NewToken(path, part, fd)
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _cannot(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: the loader's token cannot be written there: {error.strerror}")
