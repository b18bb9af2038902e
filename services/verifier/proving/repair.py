"""Has the extractor read again what the sink does not hold as the source holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from redis.exceptions import NoPermissionError

from common.config import Settings, TierName
from common.runtime.telemetry import Telemetry
from common.state.feeds import Feed, Range
from common.state.windows import WindowSet


@dataclass
class Repair:
    """Puts ranges back into the backlog of their feed.

    One that was put back and differs again is left as it is for ``again_seconds``: extracting it
    did not help. ``clock`` gives seconds and never runs backwards.
    """

    windows: WindowSet
    settings: Settings
    telemetry: Telemetry
    clock: Callable[[], float]
    _tried: dict[tuple[str, Range], float] = field(default_factory=dict, init=False)

    def open(self, query_name: str, tier: TierName, ranges: Iterable[Range]) -> list[Range]:
        """What of ``ranges`` is extracted again.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        if self.settings.verify.repair == "off":
            return []
        now, again_seconds = self.clock(), self.settings.verify.again_seconds
        self._tried = {one: at for one, at in self._tried.items() if now < at + again_seconds}
        query = next(one for one in self.settings.extract.queries if one.name == query_name)
        feed = Feed(query.name, tier, query.kind, query.fingerprint(tier))
        opened = []
        for range_ in ranges:
            if (feed.name, range_) in self._tried:
                continue
            try:
                added_ms = self.windows.reopen(feed, *range_)
            except NoPermissionError as error:
                self.telemetry.emit("verify_repair_denied", error=str(error))
                break
            if added_ms is not None:  # else another configuration is in force than ours
                self._tried[feed.name, range_] = now
                opened.append(range_)
        return opened
