"""Reading a window of raw samples by remote read where that is cheaper and safe, else by JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.config import Query
from common.samples.columns import Samples
from common.source.remote_read.choice import Choice, Density
from common.source.remote_read.doubt import Doubt

Read = Callable[[str, int, int], Iterator[Samples]]


@dataclass(frozen=True)
class TwoWays:
    """Reads each window by remote read or by JSON.

    ``chunks`` reads by remote read. ``on_doubt`` is called with the query's name and what was
    wrong, before its window is read by JSON.
    """

    chunks: Read
    choice: Choice
    on_doubt: Callable[[str, Doubt], None]

    def read(
        self, query: Query, start_ms: int, end_ms: int, by_json: Callable[[], Iterator[Samples]]
    ) -> Iterator[Samples]:
        """The samples of ``query`` in a window, in blocks as they arrive.

        Raises :class:`Doubt` once some were handed out that cannot be trusted: they must be
        discarded. The same window is read by JSON then. Raises what ``by_json`` raises, and source
        errors where the server does not tell its configuration.
        """
        series, samples, last_series = 0, 0, b""
        for block in self._read(query, start_ms, end_ms, by_json):
            if block.series:
                series += len(block.series) - (block.series[0] == last_series)
                last_series = block.series[-1]
            samples += len(block)
            yield block
        self.choice.held(query.name, Density(series, samples, end_ms - start_ms))

    def _read(
        self, query: Query, start_ms: int, end_ms: int, by_json: Callable[[], Iterator[Samples]]
    ) -> Iterator[Samples]:
        if not self.choice.by_chunks(query.name, end_ms - start_ms):
            yield from by_json()
            return
        handed_out = False
        try:
            for block in self.chunks(query.text, start_ms, end_ms):
                handed_out = True
                yield block
            self.choice.check_same_run()
        except Doubt as doubt:
            self.choice.doubted(query.name, doubt)
            self.on_doubt(query.name, doubt)
            if handed_out:
                raise
            yield from by_json()
