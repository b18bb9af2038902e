"""What must hold between sections, and what is allowed but worth a warning."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from common.config.checks.collisions import collisions, relabelled_collisions, source_problems
from common.config.extract import LEASE_MARGIN_SECONDS
from common.config.fields import Problem
from common.errors import ConfigError
from common.promql.relabel import compile_rules
from common.promql.result_names import may_return_several_metrics

if TYPE_CHECKING:
    from common.config.model import Settings

# A turn of a loop asks Redis twice, and each may wait for a reply as long as the socket does.
REDIS_TURN_SECONDS = 10.0


def problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong between keys of different sections."""
    extract, pipeline, influxdb = settings.extract, settings.pipeline, settings.load.influxdb
    if influxdb.timeout_seconds + LEASE_MARGIN_SECONDS > pipeline.entry_lease_seconds:
        yield Problem(
            ("pipeline", "entry_lease_seconds"),
            f"is {pipeline.entry_lease_seconds:g} s: a lease must outlive "
            f"load.influxdb.timeout_seconds ({influxdb.timeout_seconds:g} s) "
            f"by {LEASE_MARGIN_SECONDS:g} s or more",
        )
    for key, timeout in (
        ("extract.timeout", extract.timeout),
        ("load.influxdb.timeout_seconds", influxdb.timeout_seconds),
    ):
        if pipeline.live_seconds <= timeout:
            yield Problem(
                ("pipeline", "live_seconds"),
                f"is {pipeline.live_seconds:g} s: it must be longer than {key} ({timeout:g} s), "
                "or a slow response would look like a stuck loop",
            )
    if pipeline.live_seconds < REDIS_TURN_SECONDS:
        yield Problem(
            ("pipeline", "live_seconds"),
            f"is {pipeline.live_seconds:g} s: it must be at least {REDIS_TURN_SECONDS:g} s, "
            "as a loop that waits for Redis may take as long",
        )
    for index, query in enumerate(extract.queries):
        if query.step_ms > extract.live_window_max_seconds * 1000:
            yield Problem(
                ("extract", "live_window_max_seconds"),
                f"is {extract.live_window_max_seconds:g} s: it must hold at least one step of "
                f"queries[{index}] {query.name} ({query.step_ms / 1000:g} s)",
            )
    yield from _tier_problems(settings)
    if extract.sources:
        yield from source_problems(extract, settings.transform.relabel)
    else:
        for index, text in collisions(extract.queries, extract.labels):
            yield Problem(("extract", "queries", index), text)
    yield from _relabel_problems(settings)


def _tier_problems(settings: Settings) -> Iterator[Problem]:
    tiers = settings.load.tiers
    for index, query in enumerate(settings.extract.queries):
        place = ("extract", "queries", index)
        if unknown := [name for name in query.tiers if name not in tiers]:
            yield Problem(
                (*place, "tiers"),
                f"{', '.join(unknown)} is not in load.tiers, which has {', '.join(tiers)}",
            )
        if query.kind != "expr":
            continue
        for name in tiers:
            rollup = query.rollup(name)
            if rollup is None or not query.is_in(name):
                continue
            if not rollup.aggregates:
                yield Problem(
                    place,
                    f"is an expr, which has no increase, and load.tiers.{name} has no other "
                    "aggregate: give the query aggregates, or tiers without it",
                )
            points = (rollup.resolution_ms + rollup.lead_in_ms) // query.step_ms
            if points > settings.extract.max_points_per_series:
                yield Problem(
                    (*place, "step"),
                    f"is {query.step_ms / 1000:g} s: a point of load.tiers.{name} is made of "
                    f"{points}, and extract.max_points_per_series allows "
                    f"{settings.extract.max_points_per_series}",
                )
            if rollup.resolution_ms % query.step_ms:
                yield Problem(
                    (*place, "step"),
                    f"is {query.step_ms / 1000:g} s: the resolution of load.tiers.{name} "
                    f"({rollup.resolution_ms / 1000:g} s) must be a multiple of it",
                )


def _relabel_problems(settings: Settings) -> Iterator[Problem]:
    rules = settings.transform.relabel
    if not rules:
        return
    for index, rule in enumerate(rules):
        try:
            compile_rules((rule,), where="rules")
        except ConfigError as error:
            for problem in error.problems:
                key, _, text = problem.removeprefix("rules[0].").partition(": ")
                yield Problem(("transform", "relabel", index, key), text)


def advice(settings: Settings) -> tuple[str, ...]:
    """What is valid, but probably not meant; one sentence each."""
    return tuple(_advice(settings))


def _advice(settings: Settings) -> Iterator[str]:
    extract, transform = settings.extract.as_given(), settings.transform
    if transform.valid_metrics:
        for query in extract.queries:
            if query.kind != "expr":
                continue
            left_out = [
                name
                for name in query.names
                if not any(fnmatchcase(name, glob) for glob in transform.valid_metrics)
            ]
            if left_out == list(query.names):
                yield (
                    f"query {query.name}: its measurement is not in transform.valid_metrics, "
                    "so everything it extracts is dropped"
                )
            elif lacking := ", ".join(name for name in left_out if name != query.metric):
                yield (
                    f"query {query.name}: transform.valid_metrics lacks {lacking}, "
                    "so that of its histograms is dropped"
                )
    for query in extract.queries:
        if query.expr is not None and may_return_several_metrics(query.expr):
            yield (
                f"query {query.name}: its expr may return several metrics, which are all written "
                f"to the measurement {query.name}: series that differ in nothing but the metric "
                "overwrite each other; aggregate them, or use a select"
            )
    hot, bucket = settings.load.tiers["hot"].bucket, settings.load.influxdb.bucket
    if hot != bucket:
        yield f"load.influxdb.bucket: {bucket} is not used, load.tiers.hot.bucket names {hot}"
    if len(settings.load.tiers) == 1 and any(query.aggregates for query in extract.queries):
        yield "extract.queries[].aggregates: load.tiers has no rollup that would hold them"
    yield from relabelled_collisions(extract.queries, transform.relabel)
