"""What ``etlctl sink init`` may change of a bucket that exists: never less time without consent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from common.durations import format_duration

T = TypeVar("T")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Consent:
    """``dry_run``: nothing is changed, only said. ``shorten``: points may be deleted by a retention
    that is shorter than before.
    """

    dry_run: bool = False
    shorten: bool = False


def reconcile(
    what: str,
    kept_seconds: float,
    wanted_seconds: float,
    consent: Consent,
    say: Say,
    change: Callable[[int], object],
) -> None:
    """``change`` the retention where it differs and may, and say what became of it.

    ``what``: ``bucket NAME`` or ``database NAME``. Infinity = for ever; nobody wants that of what
    exists but who leaves it as it is, so ``change`` is told seconds.
    """
    if kept_seconds == wanted_seconds:
        say(f"{what}: kept, keeps points for {span(kept_seconds)}")
        return
    if wanted_seconds < kept_seconds and not consent.shorten:
        say(
            f"{what}: kept, keeps points for {span(kept_seconds)}: {span(wanted_seconds)} as "
            "configured would delete what is older; --yes lets it"
        )
        return
    verb = "would keep"
    if not consent.dry_run:
        change(int(wanted_seconds))
        verb = "keeps"
    say(f"{what}: {verb} points for {span(wanted_seconds)} now, for {span(kept_seconds)} before")


def ensure_made(
    what: str, seconds: float, consent: Consent, say: Say, make: Callable[[], T]
) -> T | None:
    """``make`` it and say so; None where it is only said."""
    if consent.dry_run:
        say(f"{what}: would be made and keep points for {span(seconds)}")
        return None
    found = make()
    say(f"{what}: made, keeps points for {span(seconds)}")
    return found


def span(seconds: float) -> str:
    """How long, as ``14d`` or ``ever``."""
    return "ever" if seconds == inf else format_duration(round(seconds * 1000))
