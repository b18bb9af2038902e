"""A row of ``etl-pipeline`` for each stage, in the order of flow: in and out, failed, how long."""

from __future__ import annotations

from monitoring.dashboards.spec import (
    COUNT,
    PER_SECOND,
    RATE,
    SECONDS,
    PanelSpec,
    Query,
    RowSpec,
    rates,
)
from monitoring.model import Limit
from monitoring.thresholds import REDIS, STAGES, Thresholds

_WIDTH = 6


def stage_rows(t: Thresholds) -> tuple[RowSpec, ...]:
    """What goes in and out, what fails, how long it takes, and what waits before it."""
    queues = {
        "extractor": PanelSpec(
            "Extractor: waits",
            "lines",
            "Time of each query that is planned and not yet cut into windows.",
            (Query(f"etl_backlog_seconds{{{REDIS}}}", "{{query}} {{tier}}"),),
            SECONDS,
            width=_WIDTH,
            limit=Limit(">", t.backlog_level_seconds),
        ),
        "transformer": _queue("Transformer", "raw"),
        "loader": _queue("Loader", "points"),
    }
    return tuple(RowSpec(stage.capitalize(), (*_flow(stage, t), queues[stage])) for stage in STAGES)


def _flow(stage: str, t: Thresholds) -> tuple[PanelSpec, ...]:
    of = f'job="{stage}", instance=~"$instance"'
    title = stage.capitalize()
    taken = "etl_extracted_samples_total" if stage == "extractor" else "etl_settled_samples_total"
    passed = {"extractor": "extracted", "transformer": "taken", "loader": "taken"}[stage]
    lines = [Query(f"sum(rate({taken}{{{of}}}{RATE}))", passed)]
    if stage == "loader":
        lines.append(Query(f"sum(rate(etl_loaded_samples_total{{{of}}}{RATE}))", "loaded"))
    else:
        lines.append(
            Query(
                f'sum(rate(etl_dropped_samples_total{{{of}, reason!="rolled_up"}}{RATE}))',
                "dropped",
            )
        )
    return (
        PanelSpec(
            f"{title}: samples",
            "lines",
            "What it takes in and what comes of it.",
            tuple(lines),
            PER_SECOND,
            width=_WIDTH,
        ),
        PanelSpec(
            f"{title}: failures",
            "lines",
            "Windows, entries or groups that failed, by type; pauses because a server did not"
            " serve it.",
            (
                Query(rates("etl_errors_by_type_total", of, "error_type"), "{{error_type}}"),
                Query(f"sum(rate(etl_pauses_total{{{of}}}{RATE}))", "pauses"),
            ),
            PER_SECOND,
            width=_WIDTH,
        ),
        PanelSpec(
            f"{title}: duration",
            "lines",
            "Mean of the batches of the latest minute, of the slowest replica; half and nineteen of"
            " twenty are quicker than the others.",
            (
                Query(f"max(etl_avg_processing_time_seconds{{{of}}})", "mean"),
                *(() if stage == "extractor" else _quantiles(of)),
            ),
            SECONDS,
            width=_WIDTH,
            limit=Limit(">", t.processing_seconds),
        ),
    )


def _quantiles(of: str) -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by (le)"
            f" (rate(etl_batch_duration_seconds_bucket{{{of}}}{RATE})))",
            f"p{round(quantile * 100)}",
        )
        for quantile in (0.5, 0.95)
    )


def _queue(title: str, stream: str) -> PanelSpec:
    return PanelSpec(
        f"{title}: waits",
        "lines",
        f"Entries in the stream {stream}, and those of them that workers have.",
        (
            Query(f'max(etl_stream_entries{{{REDIS}, stream="{stream}"}})', "entries"),
            Query(f'max(etl_stream_pending_entries{{{REDIS}, stream="{stream}"}})', "pending"),
        ),
        COUNT,
        width=_WIDTH,
    )
