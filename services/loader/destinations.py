"""Which bucket an entry is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.config.load import LoadSettings
from common.samples.bucket_of_key import mark_of_bucket
from common.samples.gzip_join import mark_of
from common.state.verdict import Entry
from services.loader import payload
from services.loader.responses import Kind, Outcome

CHECK = "sink_buckets"


@dataclass
class Destinations:
    """The bucket of the tier, or the one of ``load.bucket_from`` that the transformer marked the
    entry with. What is marked with a bucket that is not configured any more is for the tier's.

    Dead letters of lines have no mark when they are replayed; all their lines are of one entry,
    and so for one bucket.
    """

    settings: LoadSettings
    set_ready: Callable[[str, bool, str], None]
    # Those that only some series are for.
    others: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        bucket_from = self.settings.bucket_from
        self._of_key = None if bucket_from is None else bucket_from.of_key
        self._by_mark = {mark_of_bucket(n): n for n in (bucket_from.names if bucket_from else ())}
        tiers = {tier.bucket for tier in self.settings.tiers.values()}
        self.others = tuple(name for name in self._by_mark.values() if name not in tiers)

    def of(self, entry: Entry) -> str | None:
        """None: of its tier no bucket is configured."""
        tiers = self.settings.tiers
        tier = next((one for name, one in tiers.items() if name == entry.tier), None)
        if tier is None:
            return None
        if entry.tier != "hot" or self._of_key is None:
            return tier.bucket
        found = self._by_mark.get(mark_of(entry.payload))
        if found is None and b"replayed" in entry.fields:
            found = self._of_key(payload.first_line(entry.payload) or b"")
        return found or tier.bucket

    def look(self, probe: Callable[[str], Outcome]) -> None:
        """Tell which of the others are not there: what is for them waits, and all else flows."""
        if self.others:
            missing = [name for name in self.others if probe(name).kind is Kind.MISSING]
            said = f"not there: {', '.join(missing)}: what is for them waits" if missing else ""
            self.set_ready(CHECK, True, said)
