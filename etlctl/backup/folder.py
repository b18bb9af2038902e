"""A backup's folder: it has its name only once it is whole, and its files are those of the list."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import EtlError
from common.failure_text import plain_text
from etlctl.backup.parts import Moved

# Of the layout of the folder and of each part's files.
FORMAT = 1
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"  # as `sha256sum --check` reads it

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. ``parts``: by name, what restoring it needs to know."""

    namespace: str
    created_at: str
    etlctl_version: str
    parts: Mapping[str, Mapping[str, Any]]
    format: int = FORMAT


@contextmanager
def new_backup(target: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name ``target`` when the block ends without an error.

    It is only for its owner. Raises :class:`EtlError` where ``target`` is there and not an empty
    folder, and where nothing can be written.
    """
    target = target.absolute()
    _refuse_used(target)
    try:
        made = tempfile.mkdtemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        yield Path(made)
        _refuse_used(target)
        os.rename(made, target)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def finish(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, and last the checksums of all files."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    lines = [f"{digest_of(folder / name)}  {name}\n" for name in sorted(_files(folder))]
    with (folder / CHECKSUMS).open("w", encoding="utf-8") as out:
        out.writelines(lines)
        out.flush()
        os.fsync(out.fileno())


def read_backup(folder: Path, namespace: str) -> Manifest:
    """What the backup says of itself. Raises :class:`EtlError` where this cannot be restored.

    ``namespace`` is that of the configuration.
    """
    if not folder.is_dir():
        raise EtlError(f"{folder}: there is no such folder")
    if not (folder / CHECKSUMS).is_file():
        raise EtlError(f"{folder}: is no whole backup: it has no file {CHECKSUMS}")
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        number = int(document["format"])
        if number > FORMAT:
            raise EtlError(
                f"{folder}: was made by etlctl {document['etlctl_version']} in format {number}, "
                f"and this etlctl knows {FORMAT}: restore it with that version or a newer one"
            )
        manifest = Manifest(**document)
        parts = {str(name): dict(known) for name, known in manifest.parts.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EtlError(f"{folder / MANIFEST}: cannot be read: {plain_text(error)}") from None
    if manifest.namespace != namespace:
        raise EtlError(
            f"{folder}: is of the Redis namespace {manifest.namespace!r}, and "
            f"pipeline.redis_namespace is {namespace!r}"
        )
    return Manifest(namespace, manifest.created_at, manifest.etlctl_version, parts)


def check_files(folder: Path, moved: Moved) -> None:
    """Compare every file with its checksum.

    Raises :class:`EtlError` with a line for each file that is missing, altered or not listed.
    """
    problems, listed = [], _listed(folder)
    for name, digest in listed.items():
        try:
            same = digest_of(folder / name, moved) == digest
        except OSError as error:
            problems.append(f"{folder / name}: cannot be read: {plain_text(error)}")
            continue
        if not same:
            problems.append(f"{folder / name}: was altered: its SHA-256 is not that of {CHECKSUMS}")
    strangers = sorted(_files(folder) - listed.keys() - {CHECKSUMS})
    problems += [f"{folder / name}: is not listed in {CHECKSUMS}" for name in strangers]
    if problems:
        raise EtlError("\n".join(problems))


def size_bytes(folder: Path) -> int:
    """Of all files of a folder."""
    return sum((folder / name).stat().st_size for name in _files(folder))


def digest_of(file: Path, moved: Moved = lambda _: None) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            moved(len(chunk))
    return digest.hexdigest()


def _files(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir()}


def _listed(folder: Path) -> dict[str, str]:
    """Name → digest. A name that leads out of the folder is refused with the rest of the file."""
    found = {}
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EtlError(f"{folder / CHECKSUMS}: cannot be read: {plain_text(error)}") from None
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or Path(match[2]).is_absolute() or ".." in Path(match[2]).parts:
            raise EtlError(f"{folder / CHECKSUMS}:{number}: is not a checksum and a file's name")
        found[match[2]] = match[1]
    if MANIFEST not in found:
        raise EtlError(f"{folder / CHECKSUMS}: does not list {MANIFEST}")
    return found


def _refuse_used(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise EtlError(f"{target} exists and is no folder")
    if any(target.iterdir()):
        raise EtlError(f"{target} is not empty: name a folder that does not exist")
    if os.path.ismount(target):
        raise EtlError(f"{target} is a mount point: name a folder in it that does not exist")


def _unwritable(target: Path, error: OSError) -> EtlError:
    if error.errno in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST):
        return EtlError(f"{target}: appeared meanwhile")
    return EtlError(f"{target}: cannot be written: {error.strerror or error}")
