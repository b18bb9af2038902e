"""By which way a window of raw samples is read: by remote read where that is cheaper and safe.

It is cheaper where a window has many samples of each series, and many in all. It is safe where the
server adds nothing to its own series, which its configuration shows: external labels would become
labels of every series, and from a server with ``remote_read`` of its own something may be missing
without a word.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from common.config import Query
from common.samples.columns import Samples
from services.extractor.history import ServerRun
from services.extractor.remote_read.doubt import Doubt

# Below some 100, JSON is cheaper: each series costs the server a write of its own.
LEAST_SAMPLES_A_SERIES = 120
# Chunks are decoded side by side, which takes many of them; the server's run is asked for, too.
LEAST_SAMPLES = 50_000
# For how long a query is read by JSON after a doubt that goes with what it reads or who answers,
# and after any other.
LASTING_SECONDS = 3600.0
PASSING_SECONDS = 60.0
# How long a server is left alone that may not be read so.
UNSAFE_SECONDS = 60.0

_LASTING = ("refused", "not_streamed", "chunk_type", "labels", "order")
# As Prometheus writes its configuration: keys of the document and of its ``global``.
_UNSAFE = re.compile(r"^(?:remote_read|  external_labels):", re.MULTILINE)

Read = Callable[[str, int, int], Iterator[Samples]]


@dataclass(slots=True)
class _Density:
    """What the last window of a query held."""

    series: int = 0
    samples: int = 0
    window_ms: int = 1

    def enough_in(self, window_ms: int) -> bool:
        samples = self.samples * window_ms / self.window_ms
        return samples >= max(LEAST_SAMPLES, LEAST_SAMPLES_A_SERIES * self.series)


@dataclass
class TwoWays:
    """Reads each window by remote read or by JSON.

    ``chunks`` reads by remote read. ``run`` and ``config`` tell the server's run and the body of
    its ``/api/v1/status/config``. ``on_doubt`` is called with the query's name and what was wrong,
    before its window is read by JSON.
    """

    chunks: Read
    run: Callable[[], ServerRun | None]
    config: Callable[[], bytes]
    on_doubt: Callable[[str, Doubt], None]
    clock: Callable[[], float] = time.monotonic
    _density: dict[str, _Density] = field(default_factory=dict, init=False)
    _by_json_until: dict[str, float] = field(default_factory=dict, init=False)
    # The run whose configuration is safe.
    _safe_run: ServerRun | None = field(default=None, init=False)
    _unsafe_until: float = field(default=float("-inf"), init=False)

    def read(
        self, query: Query, start_ms: int, end_ms: int, by_json: Callable[[], Iterator[Samples]]
    ) -> Iterator[Samples]:
        """The samples of ``query`` in a window, in blocks as they arrive.

        Raises :class:`Doubt` once some were handed out that cannot be trusted: they must be
        discarded. The same window is read by JSON then. Raises what ``by_json`` raises, and source
        errors where the server does not tell its configuration.
        """
        density, last_series = _Density(window_ms=end_ms - start_ms), b""
        for block in self._read(query, start_ms, end_ms, by_json):
            if block.series:
                density.series += len(block.series) - (block.series[0] == last_series)
                last_series = block.series[-1]
            density.samples += len(block)
            yield block
        self._density[query.name] = density

    def _read(
        self, query: Query, start_ms: int, end_ms: int, by_json: Callable[[], Iterator[Samples]]
    ) -> Iterator[Samples]:
        if not self._chunks_are_cheaper(query, end_ms - start_ms) or not self._server_is_safe():
            yield from by_json()
            return
        handed_out = False
        try:
            for block in self.chunks(query.text, start_ms, end_ms):
                handed_out = True
                yield block
            self._check_same_run()
        except Doubt as doubt:
            lasting = doubt.reason in _LASTING
            held_seconds = LASTING_SECONDS if lasting else PASSING_SECONDS
            self._by_json_until[query.name] = self.clock() + held_seconds
            self.on_doubt(query.name, doubt)
            if handed_out:
                raise
            yield from by_json()

    def _chunks_are_cheaper(self, query: Query, window_ms: int) -> bool:
        density = self._density.get(query.name)
        by_json_until = self._by_json_until.get(query.name, float("-inf"))
        return density is not None and density.enough_in(window_ms) and self.clock() > by_json_until

    def _server_is_safe(self) -> bool:
        """Whether the server's configuration is one that adds nothing; unknown is not."""
        if self._safe_run is None and self.clock() > self._unsafe_until:
            run = self.run()
            if run is not None and adds_nothing(self.config()):
                self._safe_run = run
            else:
                self._unsafe_until = self.clock() + UNSAFE_SECONDS
        return self._safe_run is not None

    def _check_same_run(self) -> None:
        """Raise unless the server had the configuration that was looked at, all the time."""
        if self.run() != self._safe_run:
            self._safe_run = None
            raise Doubt(
                "reconfigured", "was restarted or had its configuration read anew meanwhile"
            )


def adds_nothing(config: bytes) -> bool:
    """Whether a configuration has neither external labels nor ``remote_read``.

    ``config`` is the body of ``/api/v1/status/config``. False for what is none.
    """
    try:
        text = json.loads(config)["data"]["yaml"]
        return bool(text) and not _UNSAFE.search(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
