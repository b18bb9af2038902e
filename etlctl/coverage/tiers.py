"""The seals of all tiers, each in a bucket of its own, where the sink may be away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from math import inf
from typing import Self, TypeVar

from common.config import Settings, TierName
from common.errors import SinkError
from common.state.feeds import Range
from etlctl.coverage.seals import FeedSeals
from services.verifier.connect import sink_of
from services.verifier.sink.read import Sink

T = TypeVar("T")


class TierSeals:
    """Reads what the sink knows. A tier that cannot be read is not tried again: ``unread`` says
    why, by tier, and what is asked of it is None.
    """

    def __init__(self, settings: Settings) -> None:
        self.unread: dict[str, str] = {}
        self._settings = settings
        self._sinks: dict[TierName, Sink] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def first_ms(self, query: str, tier: TierName) -> int | None:
        """The start of the oldest window that is sealed."""
        return self._of(tier, lambda sink: self._feed(sink, query, tier).first_ms())

    def ranges(
        self, query: str, tier: TierName, bounds: Range, progress: Callable[[int], None]
    ) -> list[Range] | None:
        """What is sealed within ``bounds``."""
        return self._of(tier, lambda sink: self._feed(sink, query, tier).ranges(*bounds, progress))

    def kept_seconds(self, tier: TierName) -> float:
        """How long the tier keeps points, as far as configuration and sink say; infinity = ever."""
        configured = self._settings.load.tiers[tier].retention_seconds or inf
        return min(configured, self._of(tier, lambda sink: sink.kept_seconds()) or inf)

    def _feed(self, sink: Sink, query: str, tier: TierName) -> FeedSeals:
        return FeedSeals(sink, self._settings.pipeline.redis_namespace, query, tier)

    def _of(self, tier: TierName, ask: Callable[[Sink], T]) -> T | None:
        if tier in self.unread:
            return None
        try:
            if tier not in self._sinks:
                sink = sink_of(self._settings, tier)
                self._sinks[tier] = self._open.enter_context(closing(sink))
            return ask(self._sinks[tier])
        except SinkError as error:
            self.unread[tier] = str(error)
            return None
