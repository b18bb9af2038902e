"""Has the extractor read again what the sink does not hold as the source holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import NoPermissionError, ResponseError

from common.config import Settings
from common.runtime.telemetry import Telemetry
from common.state.backfills import extract_again
from common.state.feeds import Feed, FeedStatus, Range
from common.state.ranges import merged, overlaps, without
from common.state.seals import windows_without_seal
from common.state.windows import WindowSet
from services.verifier.proving.forgotten import Forgotten
from services.verifier.sealed.seals import SealReader
from services.verifier.sealed.windows import whole_windows
from services.verifier.sink.read import Sink


@dataclass
class Repair:
    """Puts ranges back into the backlog of their feed, or of another backfill.

    One that was put back and differs again is left as it is for ``again_seconds``: extracting it
    did not help. ``clock`` gives seconds and never runs backwards. ``lease``: the verifier's, a key
    and what it holds; without it nothing is put back, as another one has seen to it.
    """

    windows: WindowSet
    settings: Settings
    telemetry: Telemetry
    clock: Callable[[], float]
    lease: tuple[str, str]
    _tried: dict[tuple[str, Range], float] = field(default_factory=dict, init=False)

    def open(
        self, sink: Sink, status: FeedStatus, ranges: Sequence[Range], forgotten: Forgotten
    ) -> None:
        """Have ``ranges`` of a feed extracted again, in whole windows, less what is closed.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached, and
        :class:`~common.errors.SinkError` when the seals cannot be read.
        """
        if self.settings.verify.repair == "off":
            return
        query = next(one for one in self.settings.extract.queries if one.name == status.query)
        tier = status.tier
        feed = Feed(query.name, tier, query.kind, query.fingerprint(tier))
        fresh = self._not_tried(feed, ranges)
        if not fresh or feed.fingerprint != status.fingerprint:
            return  # nothing to do, or another configuration is in force
        reader = SealReader(sink, self.settings.pipeline.redis_namespace, query.name, tier)
        unsealed = windows_without_seal(self.windows.redis, self.windows.keys, feed.name)
        whole = whole_windows(reader, fresh, forgotten.whole_from_ms, unsealed)
        for start_ms, end_ms in without(whole, forgotten.closed):
            try:
                if extract_again(self.windows, feed, [(start_ms, end_ms)], self.lease) is None:
                    return
            except ResponseError as error:
                if not _is_denied(error):
                    raise
                self.telemetry.emit("verify_repair_denied", error=str(error))
                return
            self.telemetry.emit("verify_repairs", **feed.labels, start_ms=start_ms, end_ms=end_ms)
        self._tried |= {(feed.name, range_): self.clock() for range_ in fresh}

    def _not_tried(self, feed: Feed, ranges: Sequence[Range]) -> list[Range]:
        since = self.clock() - self.settings.verify.again_seconds
        self._tried = {one: at for one, at in self._tried.items() if at > since}
        tried = merged(range_ for name, range_ in self._tried if name == feed.name)
        return [range_ for range_ in ranges if not overlaps(tried, *range_)]


def _is_denied(error: ResponseError) -> bool:
    """Whether this user may not, itself or in a script (7.0 and newer servers say it otherwise)."""
    in_script = ("The user executing the script can't", "ACL failure in script")
    return isinstance(error, NoPermissionError) or any(one in str(error) for one in in_script)
