"""Dead letters to a file: one JSON document a line, all of them or no file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redis import Redis

from common.errors import EtlError
from common.state.dead_letters.kept import DeadLetters, KeptDeadLetter
from common.state.dead_letters.payloads import with_payloads
from common.state.keys import Keys
from etlctl.dead_letters.payloads import as_members
from etlctl.whole_file import whole_file


def refuse_existing(file: Path, *, force: bool) -> None:
    """Raise :class:`EtlError` where ``file`` must not or cannot be written, before any work."""
    if file.is_dir():
        raise EtlError(f"{file} is a directory")
    if not force and os.path.lexists(file):
        raise _exists(file)


def export(
    redis: Redis,
    keys: Keys,
    letters: Iterable[KeptDeadLetter],
    file: Path,
    *,
    force: bool,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Write all ``letters`` to ``file``; how many of them have lost their payload.

    The file appears under its name only when it is whole. Raises :class:`EtlError` when it cannot
    be written, and when a dead letter was replayed or purged meanwhile.
    """
    refuse_existing(file, force=force)
    dead, lost = DeadLetters(redis, keys), 0
    try:
        with whole_file(file, replace=force) as out:
            for letter, payload in with_payloads(redis, keys, letters):
                if payload is None:
                    _still_there(dead, letter)
                    lost += 1
                line = json.dumps(document(letter, payload), ensure_ascii=False)
                out.write(line.encode() + b"\n")
                progress()
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise EtlError(f"{file}: cannot be written: {error.strerror or error}") from None
    return lost


def metadata(letter: KeptDeadLetter) -> dict[str, Any]:
    """Everything that is known of a dead letter but its payload, as plain data."""
    known = asdict(letter)
    del known["payload_key"]  # where it lies, not what it is
    return known


def document(letter: KeptDeadLetter, payload: bytes | None) -> dict[str, Any]:
    """A dead letter with its payload, as plain data."""
    return {**metadata(letter), **as_members(payload, letter.samples)}


def _still_there(dead: DeadLetters, letter: KeptDeadLetter) -> None:
    try:
        dead.get(letter.id)
    except EtlError:
        raise EtlError(
            f"dead letter {letter.id} was replayed or purged meanwhile: export again"
        ) from None


def _exists(file: Path) -> EtlError:
    return EtlError(f"{file} exists: name another file, or say --force to replace it")
