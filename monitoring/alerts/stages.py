"""Alerts on the stages of the pipeline: are they there, and do they get on."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import burst, duration, latest, or_zero
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import CONFIGURED_JOBS, REDIS, STAGE_JOBS, STAGES, Thresholds


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Stage alerts with the thresholds ``t``."""
    return (
        Alert(
            name="EtlStageDown",
            severity="critical",
            summary="A stage of the pipeline has no replica that can be scraped.",
            description=(
                "No {{ .Labels.job }} responds: nothing passes that stage. Its backlog waits in"
                " Redis or in Prometheus' history, and is worked off once it is back."
            ),
            query=replicas_up(t),
            limit=Limit("<", 1),
            for_seconds=t.stage_down_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Replicas up"),
        ),
        Alert(
            name="EtlStageStalled",
            severity="critical",
            summary="A stage has work and finishes none of it.",
            description=(
                f"{{{{ .Labels.job }}}} has had work for {duration(t.stalled_window_seconds)} or"
                " longer, and has finished none of it."
            ),
            query=_stalled(t),
            limit=Limit(">", 0),
            for_seconds=t.stalled_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Batches"),
        ),
        Alert(
            name="EtlWindowFailing",
            severity="warning",
            summary="A query cannot be extracted.",
            description=(
                "{{ .Labels.query }} ({{ .Labels.tier }}) failed {{ .Value | humanize }} times in a"
                " row, or what is deferred of it did; it is tried again."
            ),
            query=(
                "max by (query, tier) (\n  "
                + latest(f"etl_query_failures_in_a_row{{{REDIS}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit(">", t.window_failures),
            for_seconds=t.window_failing_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Failed attempts in a row"),
        ),
        Alert(
            name="EtlRecheckAbandoned",
            severity="warning",
            summary="Late samples of what is extracted can no longer be found.",
            description=(
                "{{ .Value | humanize }} committed ranges of {{ .Labels.query }}"
                " ({{ .Labels.tier }}) could not be compared with Prometheus again, or differ each"
                " time: late samples of them may be missing."
            ),
            query=or_zero(
                "sum by (query, tier) (\n  "
                + burst(
                    f"etl_rechecks_abandoned_total{{{STAGE_JOBS}}}", t.recheck_window_seconds
                ).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Recounts given up"),
        ),
        Alert(
            name="EtlPendingEntriesDeleted",
            severity="critical",
            summary="Entries vanished from a stream while a worker had them: samples are lost.",
            description=(
                "{{ .Labels.stage }} found {{ .Value | humanize }} entries deleted that were"
                " pending. Somebody else changes the pipeline's keys in Redis."
            ),
            query=or_zero(
                "sum by (stage) (\n  "
                + burst(
                    f"etl_deleted_pending_entries_total{{{STAGE_JOBS}}}", t.deleted_window_seconds
                ).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Deleted pending entries"),
        ),
        Alert(
            name="EtlConfigRefused",
            severity="warning",
            summary="The configuration was changed and is refused: what was in force stays so.",
            description=(
                "{{ .Labels.job }} refuses etl.yaml as it is now, and goes on with what it read"
                " before. A start of it with this file may fail."
            ),
            query=(
                "1 - min by (job) (\n  "
                + latest(
                    f"etl_config_last_reload_successful{{{CONFIGURED_JOBS}}}", t.bridge_seconds
                )
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=t.config_refused_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Configuration refused"),
        ),
    )


def replicas_up(t: Thresholds) -> str:
    """Replicas by stage; 0 for a stage without targets, where a pipeline belongs.

    Replicas are found by DNS: a stage of which none is left has no ``up``, not one that is 0. The
    monitoring stack also runs without a pipeline, and then nothing is missing: one belongs here if
    any stage was seen lately, or if etl-metrics is configured with a Redis.
    """
    missing = "\n  ".join(f'or 0 * absent(up{{job="{stage}"}})' for stage in STAGES)
    return (
        f"(\n  sum by (job) (up{{{STAGE_JOBS}}})\n  {missing}\n)\n"
        f"and on () (\n"
        f"  count(last_over_time(up{{{STAGE_JOBS}}}[{duration(t.stage_known_seconds)}]))\n"
        f"  or count(etl_redis_up{{{REDIS}}})\n)"
    )


def _stalled(t: Thresholds) -> str:
    """What waits for a stage that has finished no batch in the window; 0 for one that has.

    A stream that was empty at one scrape had been worked off. The extractor always has work,
    unless back-pressure pauses it.
    """
    window = duration(t.stalled_window_seconds)
    waiting = "\n  or ".join(
        f'label_replace({what}, "job", "{stage}", "", "")'
        for stage, what in (
            (
                "transformer",
                f'min_over_time(etl_stream_entries{{{REDIS}, stream="raw"}}[{window}])',
            ),
            (
                "loader",
                f'min_over_time(etl_stream_entries{{{REDIS}, stream="points"}}[{window}])',
            ),
            ("extractor", f"1 - max_over_time(etl_backpressure_active{{{REDIS}}}[{window}])"),
        )
    )
    return (
        f"max by (job) (\n  {waiting}\n)\n"
        f"* on (job) (sum by (job) (increase(etl_files_total{{{STAGE_JOBS}}}[{window}])) == bool 0)"
    )
