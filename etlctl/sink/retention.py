"""What ``etlctl sink init`` may change of a bucket that exists: never less time without consent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from common.durations import format_duration

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Consent:
    """``dry_run``: nothing is changed, only said. ``shorten``: points may be deleted by a retention
    that is shorter than before.
    """

    dry_run: bool = False
    shorten: bool = False


def may_set(
    what: str, kept_seconds: float, wanted_seconds: float, consent: Consent, say: Say
) -> bool:
    """Whether the retention is to be set, and says what becomes of it.

    ``what``: ``bucket NAME`` or ``database NAME``. Infinity = for ever.
    """
    if kept_seconds == wanted_seconds:
        say(f"{what}: kept, keeps points for {span(kept_seconds)}")
        return False
    if wanted_seconds < kept_seconds and not consent.shorten:
        say(
            f"{what}: kept, keeps points for {span(kept_seconds)}: {span(wanted_seconds)} as "
            "configured would delete what is older; --yes lets it"
        )
        return False
    verb = "would keep" if consent.dry_run else "keeps"
    say(f"{what}: {verb} points for {span(wanted_seconds)} now, for {span(kept_seconds)} before")
    return not consent.dry_run


def made(what: str, seconds: float, consent: Consent, say: Say) -> bool:
    """Whether to make it, and says so."""
    verb = "would be made and keep" if consent.dry_run else "made, keeps"
    say(f"{what}: {verb} points for {span(seconds)}")
    return not consent.dry_run


def span(seconds: float) -> str:
    """How long, as ``14d`` or ``ever``."""
    return "ever" if seconds == inf else format_duration(round(seconds * 1000))
