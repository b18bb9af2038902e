"""Files of a server beside us: copied whole, given to whom the server's own belong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from common.errors import EtlError
from etlctl.backup.parts import Moved

_CHUNK_BYTES = 1 << 20


def copy_tree(source: Path, target: Path, moved: Moved) -> None:
    """Copy files and folders into ``target``, which is made if it is missing. Raises OSError."""
    target.mkdir(exist_ok=True)
    for one in sorted(source.iterdir()):
        if one.is_dir():
            copy_tree(one, target / one.name, moved)
        else:
            copy_file(one, target / one.name, moved)


def copy_file(source: Path, target: Path, moved: Moved) -> None:
    """Copy one file, which must not exist yet; none is left of a failure. Raises OSError."""
    with source.open("rb") as read, target.open("xb") as written:
        try:
            while chunk := read.read(_CHUNK_BYTES):
                written.write(chunk)
                moved(len(chunk))
        except BaseException:
            target.unlink()
            raise


def give_like(folder: Path, names: list[str]) -> None:
    """Give files and folders in ``folder`` to the owner of the folder itself, who is the server.

    Raises :class:`EtlError` where we may not: the server could not write to them.
    """
    wanted = folder.stat()
    try:
        for name in names:
            top = folder / name
            for one in (top, *(top.rglob("*") if top.is_dir() else ())):
                found = one.stat()
                if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
                    os.chown(one, wanted.st_uid, wanted.st_gid)
    except PermissionError:
        raise EtlError(
            f"{folder}: belongs to user {wanted.st_uid}, group {wanted.st_gid}, to whom files "
            "cannot be given: run this as root, or as that user"
        ) from None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and we may."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
