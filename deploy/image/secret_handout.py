"""Hands each container its own copies of the secrets, readable by that container's user alone.

``python -m deploy.image.secret_handout --pipeline`` copies ``/run/secrets/NAME`` to
``/handout/CONSUMER/NAME`` as :mod:`deploy.image.secret_list` says, mode 0400, and removes what is
no longer listed. An optional secret is handed out where there is one: a file that is missing or of
no length counts as none, and one that is wrong stops nobody. The sources are the host's own files,
mounted read-only, so they may stay private to their owner there. Runs as root with CHOWN,
DAC_OVERRIDE and FOWNER and nothing else, in any of the images: the standard library is enough.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.secret_files import MAX_SECRET_BYTES, secret_text
from deploy.image.receiver_secrets import RECEIVERS, WATCHDOG, named_in, stand_in, why_unfit
from deploy.image.secret_list import Consumer, consumers

FILE_MODE = 0o400
FOLDER_MODE = 0o500
_OTHERS = 0o077
_PART = ".part"


@dataclass(frozen=True, slots=True)
class HandedOut:
    """What was done for one consumer: names of its secrets."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]


def read_sources(listed: Sequence[Consumer], source: Path, host_folder: str) -> dict[str, bytes]:
    """The content of every secret that somebody must have.

    ``host_folder`` is where a person finds the files that are mounted at ``source``. Raises
    :class:`ConfigError` with one line for each secret that is missing, empty or open to others.
    """
    wanted: dict[str, list[str]] = {}
    for consumer in listed:
        for name in consumer.secrets:
            if name not in consumer.optional:
                wanted.setdefault(name, []).append(consumer.name)
    problems: list[str] = []
    contents: dict[str, bytes] = {}
    for name, whose in wanted.items():
        try:
            contents[name] = _read(source / name, f"{host_folder}/{name}")
        except FileNotFoundError:
            problems.append(
                f"{host_folder}/{name}: is missing or not mounted, and {', '.join(whose)} reads "
                "it: make it with `etlctl secrets init`"
            )
        except OSError as error:
            problems.append(f"{host_folder}/{name}: cannot be read: {error.strerror}")
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(*problems)
    return contents


def read_receivers(
    listed: Sequence[Consumer], source: Path, receivers: str
) -> tuple[dict[str, bytes], list[str]]:
    """The optional secrets, and a line for each that is wrong; these stop nobody.

    ``receivers`` is the file by which Grafana reads them. What it names and what is not right is
    replaced, and so is the watchdog's then: :mod:`deploy.image.receiver_secrets`.
    """
    named = named_in(receivers)
    contents: dict[str, bytes] = {}
    problems: list[str] = []
    for name in sorted({name for consumer in listed for name in consumer.optional}):
        if not _is_given(source / name):
            if name in named:
                problems.append(f"{name}: is missing or empty, and Grafana's receivers need it")
            continue
        try:
            content = _read(source / name, name)
            if why := why_unfit(name, secret_text(content)):
                problems.append(f"{name}: {why}")
            else:
                contents[name] = content
        except OSError as error:
            problems.append(f"{name}: cannot be read: {error.strerror}")
        except ValueError as error:
            problems.append(f"{name}: {str(error).removeprefix(f'{name}: ')}")
    wrong = named - contents.keys()
    if wrong:
        wrong |= named & {WATCHDOG}
    return contents | {name: stand_in(name) for name in wrong}, problems


def hand_out(consumer: Consumer, contents: dict[str, bytes], target: Path) -> HandedOut:
    """Bring the consumer's folder to what it should hold; nothing is touched that is right.

    Whoever reads a file meanwhile sees the old one or the new one. Raises :class:`ConfigError`.
    """
    path = target / consumer.name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise ConfigError(f"{path}: is not there: mount {consumer.name}'s volume on it") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        return _fill(consumer, contents, path, fd)
    except OSError as error:
        file = f"/{error.filename}" if error.filename else ""
        raise ConfigError(f"{path}{file}: cannot be handed out: {error.strerror}") from None
    finally:
        os.close(fd)


def _fill(consumer: Consumer, contents: dict[str, bytes], path: Path, folder_fd: int) -> HandedOut:
    there = os.listdir(folder_fd)
    unknown = [name for name in there if name not in consumer.secrets]
    for name in unknown:
        if stat.S_ISDIR(_lstat(name, folder_fd).st_mode):
            raise ConfigError(f"{path}/{name}: is a directory: this is no volume of secrets")
    kept = [
        name
        for name in consumer.secrets
        if name in there and _is_right(name, folder_fd, consumer, contents[name])
    ]
    written = [name for name in consumer.secrets if name not in kept]
    if written or unknown:
        os.fchmod(folder_fd, 0o700)
    for name in written:
        _write(name, folder_fd, consumer, contents[name])
    for name in unknown:
        os.unlink(name, dir_fd=folder_fd)
    os.fchown(folder_fd, consumer.uid, consumer.gid)
    os.fchmod(folder_fd, FOLDER_MODE)
    os.fsync(folder_fd)
    removed = (name for name in unknown if not name.endswith(_PART))
    return HandedOut(tuple(written), tuple(kept), tuple(sorted(removed)))


def _is_given(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _read(path: Path, shown: str) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{shown}: is not a regular file")
        if mode & _OTHERS:
            raise ValueError(
                f"{shown}: is open to others on the host (mode {mode:04o}): chmod 600 {shown}"
            )
        content = file.read(MAX_SECRET_BYTES + 1)
    if not content.strip():
        raise ValueError(f"{shown}: is empty")
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{shown}: is larger than {MAX_SECRET_BYTES} bytes")
    return content


def _is_right(name: str, folder_fd: int, consumer: Consumer, content: bytes) -> bool:
    status = _lstat(name, folder_fd)
    if (
        not stat.S_ISREG(status.st_mode)
        or stat.S_IMODE(status.st_mode) != FILE_MODE
        or (status.st_uid, status.st_gid) != (consumer.uid, consumer.gid)
        or status.st_size != len(content)
    ):
        return False
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder_fd), "rb") as file:
        return file.read(len(content) + 1) == content


def _write(name: str, folder_fd: int, consumer: Consumer, content: bytes) -> None:
    part = f".{name}.{secrets.token_hex(8)}{_PART}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(part, flags, FILE_MODE, dir_fd=folder_fd)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(fd, FILE_MODE)
            os.fchown(fd, consumer.uid, consumer.gid)
            os.fsync(fd)
        os.rename(part, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder_fd)
        raise


def _lstat(name: str, folder_fd: int) -> os.stat_result:
    return os.stat(name, dir_fd=folder_fd, follow_symlinks=False)


def _report(consumer: Consumer, done: HandedOut) -> Iterator[str]:
    for what, names in (
        ("handed out", done.written),
        ("kept", done.kept),
        ("removed", done.removed),
    ):
        if names:
            yield f"{consumer.name}: {what}: {', '.join(names)}"


def run(
    listed: Sequence[Consumer],
    source: Path,
    target: Path,
    host_folder: str = "secrets",
    receivers: str = "",
) -> ExitCode:
    """Hand out everything, or say on stderr in one line each what is in the way.

    Nobody gets anything unless every secret that somebody must have is right. ``host_folder`` is
    where a person finds the files of ``source``; ``receivers`` as for :func:`read_receivers`.
    """
    try:
        contents = read_sources(listed, source, host_folder)
        optional, wrong = read_receivers(listed, source, receivers)
        for problem in wrong:
            sys.stderr.write(f"secrets: {problem}: this receiver of alerts gets none\n")
        contents |= optional
        for consumer in listed:
            there = tuple(name for name in consumer.secrets if name in contents)
            done = hand_out(replace(consumer, secrets=there), contents, target)
            for line in _report(consumer, done):
                sys.stdout.write(f"{line}\n")
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"secrets: {problem}\n")
        return ExitCode.CONFIG
    return ExitCode.OK


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Hand out what the parts of this deployment read."""
    parser = argparse.ArgumentParser(prog="secret_handout", description=__doc__.split("\n\n")[0])
    parser.add_argument("--pipeline", action="store_true", help="the pipeline runs here too")
    parser.add_argument("--tls", action="store_true", help="with certificates")
    options = parser.parse_args(arguments)
    listed = consumers(pipeline=options.pipeline, tls=options.tls)
    try:
        receivers = Path(RECEIVERS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        receivers = ""  # Grafana complains about it itself
    return run(listed, Path("/run/secrets"), Path("/handout"), receivers=receivers)


if __name__ == "__main__":
    sys.exit(main())
