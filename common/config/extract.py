"""Settings of extraction: where Prometheus is, and which queries it gets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from common.config.fields import (
    AutoOrOff,
    Count,
    Problem,
    Seconds,
    Section,
    Unit,
    backoff_problems,
)
from common.config.push import PushSettings
from common.config.query import Query
from common.config.source import SourceKeys, SourceSettings, SourceUrl, with_url

# The least that a lease must outlive the request that is made under it.
LEASE_MARGIN_SECONDS = 5.0


def _listed(value: Any) -> Any:
    """One duration for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _none_if_zero(times: tuple[float, ...]) -> tuple[float, ...]:
    return () if times == (0.0,) else times


def _none_if_auto(value: Any) -> Any:
    return None if value == "auto" else value


class _Address(Section):
    """The address of the only source; a base, so that it is the first of the keys."""

    prometheus_url: SourceUrl = Field(
        description="Prometheus' base URL, with its path prefix if it has one; not needed with "
        "`replicas` or `sources`, whose first it is."
    )


class ExtractSettings(SourceKeys, _Address):
    """Where Prometheus is, which queries it gets, and in which pieces."""

    timeout: Seconds = Field(
        30,
        gt=0,
        le=3600,
        description="How long Prometheus may take to respond to one request, and how long its "
        "response may be waited for in all once it has begun.",
    )
    sources: tuple[SourceSettings, ...] = Field(
        (),
        description="Several sources, each with a name, a URL and what else it needs, in the place "
        "of `prometheus_url`, `replicas`, `auth`, `headers`, `header_files`, `params`, "
        "`proxy_url` and `labels`.",
    )
    settle_seconds: Annotated[Seconds | None, BeforeValidator(_none_if_auto), Unit("duration")] = (
        Field(
            None,
            ge=0,
            description="Age that samples must have before they are extracted; none, or `auto` = "
            "for each query what the source reports: raw samples the longest scrape time-out of "
            "the jobs that it may read, an `expr` also 1.1 × scrape interval, since Prometheus "
            "back-dates staleness markers, both the evaluation interval of rules that they read "
            "with `rule_query_offset`, and 2 s more; 30 s or more where the source does not say "
            "all. `etlctl status` says which. A number holds, and is compared with what is needed "
            "(`settle_too_short`, `etl_settle_missing_seconds`).",
        )
    )
    clock_tolerance_seconds: Seconds = Field(
        5,
        ge=0,
        description="How far Prometheus' clock may be ahead of ours; time beyond that is not "
        "extracted yet.",
    )
    initial_lookback_seconds: Seconds = Field(
        3600,
        ge=0,
        description="How far before its first start the pipeline begins to extract: also "
        "before Prometheus' own data, where it answers for that time (`remote_read`).",
    )
    live_window_max_seconds: Seconds = Field(
        300,
        gt=0,
        description="Longest window of live data; an older backlog is cut into long windows.",
    )
    catchup_window_samples: Annotated[Count, Unit("points")] = Field(
        480,
        ge=1,
        description="Length of a long window at most, in points of each series; the first of a "
        "query has 240, and it is halved down to 60 while the last one held so many samples that "
        "a window would have more than 5,000,000.",
    )
    max_points_per_series: Annotated[Count, Unit("points")] = Field(
        11_000,
        ge=1,
        le=11_000,
        description="Points of one series that one request may return.",
    )
    max_window_samples: Annotated[Count, Unit("samples")] = Field(
        20_000_000,
        ge=1,
        description="Samples that one response may return; a window that has more is split. One "
        "step of a query must have fewer.",
    )
    remote_read: AutoOrOff = Field(
        "auto",
        description="Whether long windows of raw samples are read by remote read (`auto`), where "
        "Prometheus' configuration has neither external labels nor `remote_read`; any doubt about "
        "an answer, and the window is read by a query.",
    )
    entry_samples: Annotated[Count, Unit("samples")] = Field(
        60_000,
        ge=1,
        le=100_000,
        description="Samples that one stream entry is filled with; five times as many where they "
        "are rolled up.",
    )
    max_open_windows: Annotated[Count, Unit("windows")] = Field(
        16,
        ge=1,
        description="Windows of one query that are cut from its backlog at a time, "
        "for live data and for catch-up each.",
    )
    window_lease_seconds: Seconds = Field(
        60, gt=0, description="How long a worker that went silent keeps its window."
    )
    backoff_base_seconds: Seconds = Field(
        0.5, gt=0, description="Shortest wait before a failed window is tried again."
    )
    backoff_max_seconds: Seconds = Field(
        60, gt=0, description="Longest wait before a failed window is tried again."
    )
    staged_ttl_seconds: Seconds = Field(
        900,
        gt=0,
        description="How long staged payloads outlive a worker that died before its commit.",
    )
    recheck_after_seconds: Annotated[
        tuple[Seconds, ...],
        BeforeValidator(_listed),
        AfterValidator(_none_if_zero),
        Unit("duration"),
    ] = Field(
        (3600.0, 21_600.0, 86_400.0),
        description="How long after its first commit a window is compared with Prometheus again, "
        "and extracted again if late samples changed it: raw samples are counted, an `expr` is "
        "evaluated. One duration stands for a list of one; `[]` or 0 = never.",
    )
    push: PushSettings = Field(default_factory=PushSettings, description="")
    queries: tuple[Query, ...] = Field(
        (),
        description="What is extracted; without this key, five queries of the test application.",
    )
    # Set by Settings: those of all shards and sources, where `queries` are those of one; those of
    # the file, where `queries` has each once for each source; the source that this is of.
    _every_query: tuple[Query, ...] = PrivateAttr(())
    _queries_given: tuple[Query, ...] = PrivateAttr(())
    _source: str = PrivateAttr("")

    @property
    def every_query(self) -> tuple[Query, ...]:
        """The queries of all shards and sources; where there are none, ``queries``."""
        return self._every_query or self.queries

    @property
    def source(self) -> str:
        """The name of the source that this is of; empty where there is only one."""
        return self._source

    def of_source(self, name: str) -> Self:
        """These settings as those of one of several sources alone, with its queries."""
        source = next(one for one in self.sources if one.name == name)
        copy = self.only(source)
        copy = copy.model_copy(
            update={"queries": tuple(q for q in self.queries if q.source == name)}
        )
        copy._every_query, copy._source = self.every_query, name
        return copy

    def only(self, source: SourceSettings) -> Self:
        """These settings as if the source were the only one."""
        keys = {name: getattr(source, name) for name in SourceKeys.model_fields}
        return self.model_copy(update={**keys, "prometheus_url": source.url, "sources": ()})

    @property
    def each_replica(self) -> tuple[Self, ...]:
        """These settings for each replica of the source, as if it were the only one."""
        urls = self.replicas or (self.prometheus_url,)
        return tuple(
            self.model_copy(update={"prometheus_url": url, "replicas": ()}) for url in urls
        )

    def as_given(self) -> Self:
        """These settings with the queries of the file."""
        return self.model_copy(update={"queries": self._queries_given or self.queries})

    @property
    def timeout_seconds(self) -> float:
        """How long Prometheus may take to respond to one request."""
        return self.timeout

    @model_validator(mode="before")
    @classmethod
    def _first_of_sources(cls, given: Any) -> Any:
        def first() -> Any:
            source = given["sources"][0] if given.get("sources") else given
            return source["url"] if "url" in source else source["replicas"][0]

        return with_url(given, "prometheus_url", first)

    def _problems(self) -> Iterator[Problem]:
        if self.timeout + LEASE_MARGIN_SECONDS > self.window_lease_seconds:
            yield Problem(
                ("window_lease_seconds",),
                f"is {self.window_lease_seconds:g} s: a lease must outlive extract.timeout "
                f"({self.timeout:g} s) by {LEASE_MARGIN_SECONDS:g} s or more",
            )
        yield from self._source_problems()
        if self.staged_ttl_seconds <= self.window_lease_seconds:
            yield Problem(
                ("staged_ttl_seconds",),
                f"is {self.staged_ttl_seconds:g} s: it must be longer than window_lease_seconds "
                f"({self.window_lease_seconds:g} s)",
            )
        if self.catchup_window_samples > self.max_points_per_series:
            yield Problem(
                ("catchup_window_samples",),
                f"is {self.catchup_window_samples}: it must not exceed max_points_per_series "
                f"({self.max_points_per_series})",
            )
        yield from backoff_problems(self.backoff_base_seconds, self.backoff_max_seconds)
        times = (0.0, *self.recheck_after_seconds)
        if any(later <= earlier for earlier, later in pairwise(times)):
            yield Problem(
                ("recheck_after_seconds",),
                "must be durations above 0, each longer than the one before it",
            )
        if "queries" in self.model_fields_set and not self.queries:
            yield Problem(
                ("queries",), "is empty: leave the key out for the default queries, or name some"
            )
        first: dict[str, int] = {}
        for index, query in enumerate(self.queries):
            if query.name in first:
                yield Problem(
                    ("queries", index, "name"),
                    f"{query.name} is already the name of queries[{first[query.name]}]",
                )
            first.setdefault(query.name, index)

    def _source_problems(self) -> Iterator[Problem]:
        if not self.sources:
            yield from self._problems_with(self.prometheus_url, "prometheus_url")
        elif self.prometheus_url != self.sources[0].url:
            yield Problem(("prometheus_url",), "is not the first of sources: give one of both")
        else:
            for key in SourceKeys.model_fields:
                if getattr(self, key) != SourceKeys.model_fields[key].get_default(
                    call_default_factory=True
                ):
                    yield Problem((key,), "belongs to one of sources: put it there")
        if self.push.port is not None and (self.sources or self.replicas):
            several = "sources" if self.sources else "replicas"
            text = f"cannot be given with {several}: nobody would know of which a sample is"
            yield Problem(("push", "port"), text)
        first: dict[str, int] = {}
        for index, source in enumerate(self.sources):
            if source.name in first:
                other = f"sources[{first[source.name]}]"
                text = f"{source.name} is already the name of {other}"
                yield Problem(("sources", index, "name"), text)
            first.setdefault(source.name, index)
        for index, query in enumerate(self.queries):
            if unknown := [name for name in query.sources if name not in first]:
                known = f"has {', '.join(first)}" if first else "is not given"
                text = f"{', '.join(unknown)} is not in extract.sources, which {known}"
                yield Problem(("queries", index, "sources"), text)
