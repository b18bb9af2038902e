"""How the source scrapes and evaluates, as it reports it, and how long samples take to settle.

A scrape's samples have the time at which it began, and are there when it has ended: after its
time-out at the latest. So are the markers of series that it no longer has. Of a target that is
gone the markers come 1.1 intervals late: that changes what an expression gives, not raw samples,
which have none. What a rule gives has the time of its evaluation, and is there when that has ended:
within its group's interval. Where rules look back on purpose (``rule_query_offset``), it has the
time that was looked at, and comes later by as much.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from common.config import Query
from common.config.query import UNKNOWN_SETTLE_SECONDS
from common.durations import format_duration, parse_seconds
from common.promql.selector import Selector, selectors_of
from services.extractor.source.scrape_jobs import Job, jobs_of

# Of an interval, so that a scrape which comes late is there too.
LATE_SHARE = 1.1
# How long it takes, beyond what is reported, until samples can be queried: they are appended, and
# our clock is the source's own of some moments ago.
APPEND_SECONDS = 2.0

_EVALUATION = re.compile(r"^  evaluation_interval: (\S+)$", re.MULTILINE)
_OFFSET = re.compile(r"^  rule_query_offset: (\S+)$", re.MULTILINE)
_RULES = re.compile(r"^rule_files:$", re.MULTILINE)
_REMOTE_READ = re.compile(r"^remote_read:", re.MULTILINE)
# Paths whose samples have times of their own, as those of another Prometheus.
_OWN_TIMES = re.compile(r"/federate$|cadvisor")
NOT_TOLD = "the source does not say all that writes to it"
# The series of alerts.
_OF_ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
_RECEIVERS = ("web.enable-remote-write-receiver", "web.enable-otlp-receiver")
_RECEIVING_FEATURES = {"remote-write-receiver", "otlp-write-receiver"}


class Settle(NamedTuple):
    """How long samples need to settle, and what that follows from."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped under one job.

    ``any_job``: its series may have another ``job``. ``own_times``: its samples have times of their
    own, which may lie before the scrape.
    """

    job: str
    interval_seconds: float
    timeout_seconds: float
    any_job: bool = False
    own_times: bool = False

    def needs(self, kind: str) -> Settle:
        """How old its samples are when none is to come any more, or would change an expression."""
        late_seconds = LATE_SHARE * self.interval_seconds
        interval, timeout = _text(self.interval_seconds), _text(self.timeout_seconds)
        if self.own_times:
            what = f"1.1 × scrape interval ({interval}) + time-out ({timeout})"
            whose = f"job {self.job}, whose samples have times of their own"
            return Settle(late_seconds + self.timeout_seconds, f"{what} of {whose}")
        if kind == "select" or self.timeout_seconds >= late_seconds:
            return Settle(self.timeout_seconds, f"scrape time-out ({timeout}) of job {self.job}")
        return Settle(late_seconds, f"1.1 × scrape interval ({interval}) of job {self.job}")


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """The targets of a server, and its evaluation interval with its rules' offset, if it has rules.

    ``rules``: the same for what its rules write, by the metric's name; None if it does not say.
    ``others``: what else writes to it, or may; empty where that is nothing.
    """

    targets: tuple[Target, ...]
    evaluation_seconds: float | None
    rules: Mapping[str, float] | None = None
    others: str = NOT_TOLD

    @classmethod
    def parse(
        cls, targets: bytes, config: bytes, rules: bytes = b"", flags: bytes = b""
    ) -> ScrapeSettings:
        """From the bodies of ``/api/v1/targets``, ``status/config``, ``rules``, ``status/flags``.

        Whatever is not as Prometheus has it is left out: others speak its API too.
        """
        text = str(_data(config).get("yaml", ""))
        has_rules = _RULES.search(text) is not None
        evaluation = _first_seconds(_EVALUATION, text) if has_rules else None
        # A group may have another one, which is reported nowhere.
        offset_seconds = _first_seconds(_OFFSET, text) or 0.0
        found = _data(targets).get("activeTargets")
        jobs = jobs_of(text)
        scraped = list(_targets(found, jobs)) if isinstance(found, list) else []
        # What is not there now may come without a change of the configuration.
        absent = [_absent(job) for job in jobs.values() if job.name not in _pools(found)]
        return cls(
            # Many targets, few jobs.
            tuple(dict.fromkeys([*scraped, *filter(None, absent)])),
            None if evaluation is None else evaluation + offset_seconds,
            _written_by(rules, offset_seconds) if has_rules else {},
            _others(text, _data(flags)) if isinstance(found, list) and text else NOT_TOLD,
        )

    def targets_of(self, query: Query) -> list[Target]:
        """Those that a query may read, by what it says of their job."""
        selectors = selectors_of(query.text)
        return [one for one in self.targets if any(_may_be(one, each) for each in selectors)]

    def needs(self, query: Query) -> Settle | None:
        """How long samples of a query need to settle; None where nothing is known of it."""
        found = [one.needs(query.kind) for one in self.targets_of(query) or self.targets]
        if self.rules is None:
            if self.evaluation_seconds is not None:
                why = f"the evaluation interval and offset ({_text(self.evaluation_seconds)})"
                found.append(Settle(self.evaluation_seconds, why))
        else:
            selectors = selectors_of(query.text)
            for name, seconds in self.rules.items():
                if any(selector.names_can_be(name) for selector in selectors):
                    why = f"the evaluation interval and offset ({_text(seconds)}) of {name}"
                    found.append(Settle(seconds, why))
        return max(found, default=None)

    def needed_seconds(self, query: Query) -> float | None:
        """The same, without what it follows from."""
        needed = self.needs(query)
        return None if needed is None else needed.seconds

    def settle(self, query: Query) -> Settle:
        """How long samples of a query are left to settle where the configuration leaves it to us.

        Never less than :data:`UNKNOWN_SETTLE_SECONDS` where not all is known.
        """
        needed = self.needs(query)
        if needed is None:
            return Settle(UNKNOWN_SETTLE_SECONDS, "the source does not say how it scrapes")
        seconds = needed.seconds + APPEND_SECONDS
        if self.others and seconds < UNKNOWN_SETTLE_SECONDS:
            return Settle(UNKNOWN_SETTLE_SECONDS, self.others)
        return Settle(seconds, f"{needed.why} + {APPEND_SECONDS:g} s")

    def settle_ms(self, query: Query, default_seconds: float | None) -> int:
        """How long samples of a query settle, by the configuration or else by this."""
        if query.settles_by_source(default_seconds):
            return query.settle_ms(self.settle(query).seconds)
        return query.settle_ms(default_seconds)


def joint_settings(each: Sequence[ScrapeSettings]) -> ScrapeSettings:
    """Of servers any of which may be read: the longest, and unknown what one does not say."""
    first, *more = each
    for other in more:
        rules = None
        if first.rules is not None and other.rules is not None:
            rules = {
                name: max(first.rules.get(name, 0.0), other.rules.get(name, 0.0))
                for name in {*first.rules, *other.rules}
            }
        evaluations = (first.evaluation_seconds or 0.0, other.evaluation_seconds or 0.0)
        first = ScrapeSettings(
            tuple(dict.fromkeys([*first.targets, *other.targets])),
            max(evaluations) or None,
            rules,
            first.others or other.others,
        )
    return first


def _may_be(target: Target, selector: Selector) -> bool:
    return target.any_job or all(matcher.matches(target.job) for matcher in selector.on("job"))


def _data(body: bytes) -> Mapping[str, Any]:
    try:
        data = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _pools(found: Any) -> set[str]:
    """The jobs of the configuration that have targets."""
    rows = found if isinstance(found, list) else []
    return {str(one.get("scrapePool")) for one in rows if isinstance(one, dict)}


def _targets(found: list[Any], jobs: Mapping[str, Job]) -> Iterator[Target]:
    for one in found:
        try:
            interval, timeout = _seconds(one["scrapeInterval"]), _seconds(one["scrapeTimeout"])
            name = str(one["labels"]["job"])
        except (KeyError, TypeError):
            continue
        if interval is None or timeout is None:
            continue
        path = str(one.get("scrapeUrl", "")).partition("?")[0]
        job = jobs.get(str(one.get("scrapePool", "")))
        yield Target(
            name,
            interval,
            timeout,
            any_job=job is None or job.any_job,
            own_times=(job is None or job.takes_times) and bool(_OWN_TIMES.search(path)),
        )


def _absent(job: Job) -> Target | None:
    """What would be scraped of a job that has no targets."""
    interval, timeout = _seconds(job.interval), _seconds(job.timeout)
    if interval is None or timeout is None:
        return None
    own_times = job.takes_times and bool(_OWN_TIMES.search(job.path))
    target = Target(job.name, interval, timeout, own_times=own_times)
    return replace(target, any_job=job.any_job or job.relabelled)


def _written_by(rules: bytes, offset_seconds: float) -> Mapping[str, float] | None:
    """The longest interval, and the offset, of each metric that rules write; None: not told."""
    found: dict[str, float] = {}
    groups = _data(rules).get("groups")
    if not isinstance(groups, list):
        return None
    for group in groups:
        try:
            seconds = float(group["interval"]) + offset_seconds
            for rule in group["rules"]:
                recorded = rule["type"] == "recording"
                for name in (str(rule["name"]),) if recorded else _OF_ALERTS:
                    found[name] = max(seconds, found.get(name, 0.0))
        except (KeyError, TypeError, ValueError):
            return None
    return found


def _others(config: str, flags: Mapping[str, Any]) -> str:
    """What writes to a server beside its scrapes and rules, or may; empty where nothing does."""
    if not flags:
        return NOT_TOLD
    features = set(str(flags.get("enable-feature", "")).split(","))
    receives = any(flags.get(name) == "true" for name in _RECEIVERS)
    if receives or features & _RECEIVING_FEATURES:
        return "samples may be pushed to the source"
    return "the source reads from another" if _REMOTE_READ.search(config) else ""


def _first_seconds(key: re.Pattern[str], config: str) -> float | None:
    found = key.search(config)
    return _seconds(found[1]) if found else None


def _seconds(text: object) -> float | None:
    try:
        return parse_seconds(str(text))
    except ValueError:
        return None


def _text(seconds: float) -> str:
    return format_duration(round(seconds * 1000))
