"""Whether a window of raw samples is read by remote read: where that is cheaper and safe.

It is cheaper where a window has many samples of each series, and many in all. It is safe where the
server adds nothing to its own series, which its configuration shows: external labels would become
labels of every series, and from a server with ``remote_read`` of its own something may be missing
without a word.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import google_crc32c

from common.source.remote_read.doubt import Doubt

# Below some 100, JSON is cheaper: each series costs the server a write of its own.
LEAST_SAMPLES_A_SERIES = 120
# Chunks are decoded side by side, which takes many of them; the server's run is asked for, too.
LEAST_SAMPLES = 50_000
# In Python alone, where no wheel of the package fits, checksums would take longer than all else.
CHECKSUMS_ARE_FAST = google_crc32c.implementation == "c"
# For how long a query is read by JSON after a doubt that goes with what it reads or who answers,
# and after any other.
LASTING_SECONDS = 3600.0
PASSING_SECONDS = 60.0
# How long a server is left alone that may not be read so.
UNSAFE_SECONDS = 60.0

_LASTING = ("refused", "not_streamed", "chunk_type", "labels", "order")
# As Prometheus writes its configuration: keys of the document and of its ``global``.
_UNSAFE = re.compile(r"^(?:remote_read|  external_labels):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Density:
    """What a window of a query held."""

    series: int
    samples: int
    window_ms: int

    def enough_in(self, window_ms: int) -> bool:
        """Whether one of ``window_ms`` holds enough of the same for chunks to be cheaper."""
        samples = self.samples * window_ms / self.window_ms
        return samples >= max(LEAST_SAMPLES, LEAST_SAMPLES_A_SERIES * self.series)


@dataclass
class Known:
    """What is remembered of queries: what a window held last, and until when JSON is read."""

    density: dict[str, Density] = field(default_factory=dict)
    by_json_until: dict[str, float] = field(default_factory=dict)


@dataclass
class Choice:
    """Decides for one server, query by query; ``known`` may outlive it.

    ``run`` and ``config`` tell what is another after each restart and each reload of the server's
    configuration (None if it does not report that), and the body of its ``/api/v1/status/config``.
    """

    run: Callable[[], object | None]
    config: Callable[[], bytes]
    clock: Callable[[], float] = time.monotonic
    known: Known = field(default_factory=Known)
    # The run whose configuration is safe.
    _safe_run: object | None = field(default=None, init=False)
    _unsafe_until: float = field(default=float("-inf"), init=False)

    def by_chunks(self, query: str, window_ms: int) -> bool:
        """Whether chunks are cheaper for this window, and safe.

        Raises source errors where the server does not tell its configuration.
        """
        density = self.known.density.get(query)
        return (
            density is not None
            and CHECKSUMS_ARE_FAST
            and density.enough_in(window_ms)
            and self.clock() > self.known.by_json_until.get(query, float("-inf"))
            and self._server_is_safe()
        )

    def held(self, query: str, density: Density) -> None:
        """Note what a window held, by whichever way it was read."""
        self.known.density[query] = density

    def doubted(self, query: str, doubt: Doubt) -> None:
        """Have the query read by JSON for a while, or for longer where the doubt will last."""
        self.by_json(query, LASTING_SECONDS if doubt.reason in _LASTING else PASSING_SECONDS)

    def by_json(self, query: str, seconds: float = PASSING_SECONDS) -> None:
        """Have the query read by JSON for so long."""
        self.known.by_json_until[query] = self.clock() + seconds

    def check_same_run(self) -> None:
        """Raise unless the server had the configuration that was looked at, all the time."""
        if self.run() != self._safe_run:
            self._safe_run = None
            raise Doubt(
                "reconfigured", "was restarted or had its configuration read anew meanwhile"
            )

    def _server_is_safe(self) -> bool:
        """Whether the server's configuration is one that adds nothing; unknown is not."""
        if self._safe_run is None and self.clock() > self._unsafe_until:
            run = self.run()
            if run is not None and adds_nothing(self.config()):
                self._safe_run = run
            else:
                self._unsafe_until = self.clock() + UNSAFE_SECONDS
        return self._safe_run is not None


def adds_nothing(config: bytes) -> bool:
    """Whether a configuration has neither external labels nor ``remote_read``.

    ``config`` is the body of ``/api/v1/status/config``. False for what is none.
    """
    try:
        text = json.loads(config)["data"]["yaml"]
        return bool(text) and not _UNSAFE.search(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
