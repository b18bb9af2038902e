"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, *, replace: bool, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file beside ``path`` that gets this name when the block ends without an error.

    Without ``replace`` a file that has appeared there meanwhile stays, and FileExistsError is
    raised. With it, only a file is replaced: a device such as /dev/null or a folder stays. Raises
    OSError, before the block too, where no file can be written.
    """
    if replace and path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there, and no regular file", str(path))
    prefix = f".{path.name[:100]}."
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        _publish(temporary, path, replace=replace)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _publish(temporary: str, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            # Unlike a rename, a link never replaces what is there.
            os.link(temporary, path)
            return
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the check is all there is.
            if os.path.lexists(path):
                raise FileExistsError(path) from None
    os.replace(temporary, path)
