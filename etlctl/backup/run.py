"""Saving and restoring a backup, part by part."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import EtlError
from common.version import project_version
from etlctl.backup.folder import Manifest, check_files, finish, new_backup, read_backup, size_bytes
from etlctl.backup.parts import Moved, Part, Skipped

if TYPE_CHECKING:
    from rich.progress import Progress

# Redis first: what it knows to be loaded was in the sink by then, and is when the sink is saved.
# Restored in the opposite order: it never speaks of points that are not there yet.
ORDER = ("redis", "influxdb", "prometheus", "grafana")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of each part what was done, or why it was skipped."""

    done: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def save(
    target: Path,
    namespace: str,
    parts: Sequence[Part],
    bar: Progress,
    said: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Outcome:
    """Make the backup ``target``; there is none unless all of it succeeds.

    ``said`` is told of each part when it is saved. Raises :class:`EtlError`.
    """
    outcome, known = Outcome(), {}
    began = now()
    with new_backup(target) as folder:
        for part in parts:
            into = folder / part.name
            into.mkdir()
            try:
                with _task(bar, f"saving {part.name}", None) as moved:
                    saved = part.save(into, moved)
            except Skipped as skipped:
                outcome.skipped[part.name] = str(skipped)
                said(f"{part.name}: skipped: {skipped}")
                shutil.rmtree(into)
                continue
            outcome.done[part.name], known[part.name] = saved.said, saved.known
            said(f"{part.name}: {saved.said}")
        if not known:
            raise EtlError("nothing was saved: every part was skipped")
        moment = began.isoformat(timespec="seconds").replace("+00:00", "Z")
        finish(folder, Manifest(namespace, moment, project_version(), known))
    return outcome


def restore(
    source: Path,
    namespace: str,
    parts: Sequence[Part],
    bar: Progress,
    said: Callable[[str], None],
) -> Outcome:
    """Restore ``parts``, as far as they are in the backup ``source``.

    Nothing is changed before every file has its checksum and every target is known to be empty.
    Raises :class:`EtlError`.
    """
    manifest = read_backup(source, namespace)
    with _task(bar, "checking the files", size_bytes(source)) as moved:
        check_files(source, moved)
    outcome, wanted = Outcome(), []
    for part in parts:
        folder, known = source / part.name, manifest.parts.get(part.name)
        if known is None:
            outcome.skipped[part.name] = "it is not in the backup"
            continue
        try:
            part.check(folder, known)
        except Skipped as skipped:
            outcome.skipped[part.name] = str(skipped)
            continue
        wanted.append((part, folder, known))
    for name, why in outcome.skipped.items():
        said(f"{name}: skipped: {why}")
    for part, folder, known in reversed(wanted):
        with _task(bar, f"restoring {part.name}", size_bytes(folder)) as moved:
            try:
                outcome.done[part.name] = part.restore(folder, known, moved)
            except OSError as error:
                where = f": {error.filename}" if error.filename else ""
                raise EtlError(
                    f"{part.name}: cannot be restored: {error.strerror or error}{where}"
                ) from None
        said(f"{part.name}: restored: {outcome.done[part.name]}")
    if not outcome.done:
        raise EtlError("nothing was restored: every part was skipped")
    return outcome


@contextmanager
def _task(bar: Progress, what: str, total: int | None) -> Iterator[Moved]:
    task: Any = bar.add_task(what, total=total)

    def moved(count: int) -> None:
        bar.update(task, advance=count)

    try:
        yield moved
    finally:
        bar.remove_task(task)
