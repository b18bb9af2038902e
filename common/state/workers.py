"""What each worker says of itself, kept in Redis for ``etlctl status`` and the status page.

One field of a hash for each process. A worker that ends takes its field away; one that died leaves
it behind, out of date, until another worker starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from redis import Redis

from common.state.fields import text_of
from common.state.keys import Keys

# A worker that said nothing for so long is taken for dead: it speaks every few seconds.
SILENT_SECONDS = 60.0
_KEPT_SECONDS = 3600.0
_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A process of a service. ``failing``: the checks of ``/readyz`` that fail, and why.

    ``figures``: some of its metrics without labels, by name, as a scrape had them. ``config``: the
    content of the configuration file that is in force (``common.config.file_digest``), ``read``:
    what was read last, ``refused``: why that is not in force.
    """

    worker: str
    service: str
    at_ms: int
    ready: bool
    failing: Mapping[str, str]
    figures: Mapping[str, float] = field(default_factory=dict)
    config: str = ""
    read: str = ""
    refused: str = ""


class Workers:
    """The reports of all workers. Every method may raise :class:`redis.exceptions.RedisError`."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.workers

    def report(
        self,
        worker: str,
        service: str,
        ready: bool,
        failing: Mapping[str, str],
        figures: Mapping[str, float] = MappingProxyType({}),
        *,
        config: str = "",
        read: str = "",
        refused: str = "",
    ) -> None:
        """Replace what the worker said before."""
        document = {
            "service": service,
            "at_ms": self._now_ms(),
            "ready": ready,
            "failing": {name: detail[:_DETAIL_CHARS] for name, detail in failing.items()},
            "figures": dict(figures),
            "config": config,
            "read": read,
            "refused": refused[:_DETAIL_CHARS],
        }
        self._redis.hset(self._key, worker, json.dumps(document))

    def forget(self, worker: str) -> None:
        """Remove the report of a worker that ends."""
        self._redis.hdel(self._key, worker)

    def forget_dead(self) -> None:
        """Remove what workers left behind that died long ago."""
        now_ms = self._now_ms()
        dead = [one for one, report in self._all() if _is_older(report, now_ms, _KEPT_SECONDS)]
        if dead:
            self._redis.hdel(self._key, *dead)

    def alive(self) -> list[WorkerReport]:
        """The reports that are not out of date, in the order of their names."""
        now_ms = self._now_ms()
        return sorted(
            (
                report
                for _, report in self._all()
                if report is not None and not _is_older(report, now_ms, SILENT_SECONDS)
            ),
            key=lambda report: report.worker,
        )

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _all(self) -> list[tuple[str, WorkerReport | None]]:
        found: Any = self._redis.hgetall(self._key)
        return [(text_of(name), _report_of(text_of(name), text)) for name, text in found.items()]


def _is_older(report: WorkerReport | None, now_ms: int, seconds: float) -> bool:
    # Redis' clock may have gone back: what is far ahead of it is of another time as well.
    return report is None or abs(now_ms - report.at_ms) > seconds * 1000


def _report_of(worker: str, text: bytes) -> WorkerReport | None:
    """The report; None for what no worker of ours has written."""
    try:
        found = json.loads(text)
        return WorkerReport(
            worker,
            str(found["service"]),
            int(found["at_ms"]),
            bool(found["ready"]),
            {str(name): str(detail) for name, detail in found["failing"].items()},
            # A worker of an older version reports none.
            {str(name): float(value) for name, value in found.get("figures", {}).items()},
            str(found.get("config", "")),
            str(found.get("read", "")),
            str(found.get("refused", "")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
