"""How the source scrapes and evaluates, as it reports it, and how long samples take to settle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.config import Query
from common.durations import parse_seconds
from common.promql.selector import Selector, selectors_of

# Of an interval, so that a scrape which comes late is there too.
LATE_SHARE = 1.1

_EVALUATION = re.compile(rb"^  evaluation_interval: (\S+)$", re.MULTILINE)
_RULES = re.compile(rb"^rule_files:$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped under one job."""

    job: str
    interval_seconds: float
    timeout_seconds: float

    @property
    def settled_seconds(self) -> float:
        """How old its samples are when none is to come, or to be marked as stale, any more."""
        return LATE_SHARE * self.interval_seconds + self.timeout_seconds


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """The targets of a server, and its evaluation interval if it has rules."""

    targets: tuple[Target, ...]
    evaluation_seconds: float | None

    @classmethod
    def parse(cls, targets: bytes, config: bytes) -> ScrapeSettings:
        """From the bodies of ``/api/v1/targets`` and ``/api/v1/status/config``.

        Whatever is not as Prometheus has it is left out: others speak its API too.
        """
        text = str(_data(config).get("yaml", "")).encode()
        evaluation = _EVALUATION.search(text) if _RULES.search(text) else None
        found = _data(targets).get("activeTargets")
        return cls(
            # Many targets, few jobs.
            tuple(dict.fromkeys(_targets(found if isinstance(found, list) else []))),
            _seconds(evaluation[1].decode()) if evaluation else None,
        )

    def targets_of(self, query: Query) -> list[Target]:
        """Those that a query may read, by what it says of their job."""
        selectors = selectors_of(query.text)
        return [one for one in self.targets if any(_may_be(one, each) for each in selectors)]

    def needed_seconds(self, query: Query) -> float | None:
        """How long samples of a query need to settle; None where nothing is known of it."""
        needed = [one.settled_seconds for one in self.targets_of(query) or self.targets]
        if self.evaluation_seconds is not None:
            needed.append(self.evaluation_seconds)
        return max(needed, default=None)


def _may_be(target: Target, selector: Selector) -> bool:
    return all(matcher.matches(target.job) for matcher in selector.on("job"))


def _data(body: bytes) -> Mapping[str, Any]:
    try:
        data = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _targets(found: list[Any]) -> Iterator[Target]:
    for one in found:
        try:
            interval, timeout = _seconds(one["scrapeInterval"]), _seconds(one["scrapeTimeout"])
            job = str(one["labels"]["job"])
        except (KeyError, TypeError):
            continue
        if interval is not None and timeout is not None:
            yield Target(job, interval, timeout)


def _seconds(text: object) -> float | None:
    try:
        return parse_seconds(str(text))
    except ValueError:
        return None
