"""Settings of extraction: where Prometheus is, and which queries it gets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from common.config.fields import (
    AutoOrOff,
    CheckedSection,
    Count,
    Problem,
    Seconds,
    Unit,
    backoff_problems,
    url_checker,
)
from common.config.headers import given_twice, header_files, header_texts
from common.config.mappings import FixedLabels, FixedParams
from common.config.push import PushSettings
from common.config.query import Query
from common.config.source_auth import AuthSettings

# The least that a lease must outlive the request that is made under it.
LEASE_MARGIN_SECONDS = 5.0

_url = AfterValidator(url_checker(("http", "https"), "they belong in extract.auth"))
_proxy_url = url_checker(
    ("http", "https"), "name a proxy with a password in the variable https_proxy"
)
_proxy = AfterValidator(lambda url: url if url is None else _proxy_url(url))


def _listed(value: Any) -> Any:
    """One duration for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _none_if_zero(times: tuple[float, ...]) -> tuple[float, ...]:
    return () if times == (0.0,) else times


_CREDENTIALS = "it belongs in extract.auth"
_headers = BeforeValidator(header_texts(_CREDENTIALS))
_header_files = BeforeValidator(header_files("extract", _CREDENTIALS))


class ExtractSettings(CheckedSection):
    """Where Prometheus is, which queries it gets, and in which pieces."""

    prometheus_url: Annotated[str, _url] = Field(
        description="Prometheus' base URL, with its path prefix if it has one."
    )
    timeout: Seconds = Field(
        30,
        gt=0,
        le=3600,
        description="How long Prometheus may take to respond to one request, and how long its "
        "response may be waited for in all once it has begun.",
    )
    auth: AuthSettings = Field(default_factory=AuthSettings, description="")
    headers: Annotated[dict[str, SecretStr], _headers] = Field(
        {},
        description="Headers of every request, such as `X-Scope-OrgID` with the tenant of Mimir or "
        "Cortex. Their values are shown nowhere. Those of authentication belong in `extract.auth`.",
    )
    header_files: Annotated[dict[str, str], _header_files] = Field(
        {},
        description="Headers of every request whose values are in files, which are read anew for "
        "each.",
    )
    params: FixedParams = Field(
        {},
        description="Parameters in the URL of every request, such as `namespace`, `dedup` or "
        "`partial_response`: text, or a list of it. With one of them nothing is read by remote "
        "read, which knows no parameters.",
    )
    proxy_url: Annotated[str | None, _proxy] = Field(
        None,
        description="Proxy on the way to Prometheus; without it the variables `http_proxy`, "
        "`https_proxy`, `all_proxy` and `no_proxy` count.",
    )
    labels: FixedLabels = Field(
        {},
        description="Labels that each series gets before relabelling, in the place of its own of "
        "these names.",
    )
    settle_seconds: Seconds = Field(
        30,
        ge=0,
        description="Age that samples must have before they are extracted. At least 1.1 × scrape "
        "interval + scrape time-out, since Prometheus back-dates staleness markers, and at least "
        "its evaluation interval where it has rules. What the server reports is compared with it "
        "(`settle_too_short`, `etl_settle_missing_seconds`): Prometheus' defaults, 60 s and 10 s, "
        "need 76 s.",
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
        240, ge=1, description="Length of a long window, in points of each series."
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
    # Of all shards, where `queries` are those of one; set by Settings.
    _every_query: tuple[Query, ...] = PrivateAttr(())

    @property
    def every_query(self) -> tuple[Query, ...]:
        """The queries of all shards; where there are none, ``queries``."""
        return self._every_query or self.queries

    @property
    def timeout_seconds(self) -> float:
        """How long Prometheus may take to respond to one request."""
        return self.timeout

    def _problems(self) -> Iterator[Problem]:
        if self.timeout + LEASE_MARGIN_SECONDS > self.window_lease_seconds:
            yield Problem(
                ("window_lease_seconds",),
                f"is {self.window_lease_seconds:g} s: a lease must outlive extract.timeout "
                f"({self.timeout:g} s) by {LEASE_MARGIN_SECONDS:g} s or more",
            )
        yield from self._connection_problems()
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

    def _connection_problems(self) -> Iterator[Problem]:
        yield from given_twice(self.headers, self.header_files)
        if self.auth.server_name is not None and not self.prometheus_url.startswith("https:"):
            yield Problem(
                ("auth", "server_name"),
                "would never be used: prometheus_url does not begin with https://",
            )
