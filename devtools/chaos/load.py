"""What the load exporter serves: many series, each scrape with other values, made by one join.

A value is ``SERIES.SCRAPE``: series 17 in scrape 123 is ``17.000123``, so that no two samples of a
run have the same value, every one shows where it is from, and all need their full digits. The
counters beside them are what rollups compute an increase of.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

JOB = "load"
# Metrics that the series are spread over; each is a query of its own.
METRICS = ("load_a", "load_b", "load_c", "load_d")
# Counters, which begin anew now and then; Prometheus has them from before the run too.
COUNTER = "load_counter_total"
COUNTERS = 30
_RESET_AFTER_SCRAPES = 499
# Series that appear on demand: such that the sink refuses, such that it has no room for, and such
# whose measurements are too many for a while.
ODD, FRESH, LIMITED = "odd", "fresh", "limited"
_SCRAPE_DIGITS = 6


@dataclass(slots=True)
class Guest:
    """Lines that are served in addition, for so many more scrapes."""

    heads: Sequence[bytes]
    scrapes: int


class LoadPage:
    """The exporter's page. Safe to use from several threads."""

    def __init__(self, series: int, counters: int = 0) -> None:
        self._heads = [
            b'%b{series="%05d",shard="s%d",host="host-%d.example"} %d.'
            % (METRICS[index % len(METRICS)].encode(), index, index % 7, index % 50, index)
            for index in range(series)
        ]
        self._counters = [counter_series(index) for index in range(counters)]
        self._guests: list[Guest] = []
        self._scrapes = 0
        self._lock = threading.Lock()

    @property
    def scrapes(self) -> int:
        """How often the page was asked for."""
        return self._scrapes

    def invite(self, prefix: str, first: int, count: int, scrapes: int) -> None:
        """Metrics ``prefix_FIRST`` and the following, ``count`` of them, one series each."""
        heads = [
            b'%b_%06d{shard="s%d"} %d.' % (prefix.encode(), index, index % 7, index)
            for index in range(first, first + count)
        ]
        with self._lock:
            self._guests.append(Guest(heads, scrapes))

    def render(self) -> bytes:
        """The page of the next scrape, in Prometheus' text format."""
        with self._lock:
            self._scrapes += 1
            tail = b"%0*d\n" % (_SCRAPE_DIGITS, self._scrapes % 10**_SCRAPE_DIGITS)
            heads = list(self._heads)
            for guest in self._guests:
                heads += guest.heads
                guest.scrapes -= 1
            self._guests = [guest for guest in self._guests if guest.scrapes > 0]
            grown = self._scrapes % _RESET_AFTER_SCRAPES
        counters = [
            f"{series} {index + grown * 0.1!r}\n" for index, series in enumerate(self._counters)
        ]
        return tail.join(heads) + tail + "".join(counters).encode()


def counter_series(index: int, **labels: str) -> str:
    """A counter's name and labels in Prometheus' text format, with further ``labels``."""
    own = {"series": f"{index:05d}", "shard": f"s{index % 7}", **labels}
    pairs = ",".join(f'{name}="{value}"' for name, value in own.items())
    return f"{COUNTER}{{{pairs}}}"
