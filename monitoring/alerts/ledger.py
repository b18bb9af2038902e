"""Alerts on what is read from Redis: backlog, dead letters, ledger, gaps, and Redis itself."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import burst, duration, highest, latest, lesser, or_zero
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import EXTRACTOR, REDIS, STAGE_JOBS, Thresholds


def backlog_alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Alerts on work that piles up."""
    backlog = f"etl_backlog_seconds{{{REDIS}}}"
    growth = lesser(
        f"deriv({backlog}[{duration(t.backlog_window_seconds)}])",
        f"deriv({backlog}[{duration(t.backlog_recent_seconds)}])",
    ).replace("\n", "\n    ")
    return (
        Alert(
            name="EtlBacklogGrowing",
            severity="warning",
            summary="The backlog grows faster than it is worked off.",
            description=(
                "The backlog of {{ .Labels.query }} ({{ .Labels.tier }}) is longer than"
                f" {duration(t.backlog_level_seconds)} and grows by {{{{ .Value | humanize }}}}"
                " seconds a second (1 = nothing is worked off)."
            ),
            query=(
                "max by (query, tier) (\n"
                f"  (\n    {growth}\n  )\n"
                f"  * ({latest(backlog, t.bridge_seconds)} > bool {t.backlog_level_seconds:g})\n)"
            ),
            limit=Limit(">", t.backlog_growth_seconds_per_second),
            for_seconds=t.backlog_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Backlog"),
        ),
        Alert(
            name="EtlOldestEntryTooOld",
            severity="warning",
            summary="An entry waits in a stream for too long.",
            description=(
                "The oldest entry of the stream {{ .Labels.stream }} is"
                " {{ .Value | humanizeDuration }} old."
            ),
            query=(
                "max by (stream) (\n  "
                + latest(f"etl_stream_oldest_entry_age_seconds{{{REDIS}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit(">", t.oldest_entry_seconds),
            for_seconds=t.oldest_entry_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Oldest entry"),
        ),
        Alert(
            name="EtlBackPressureLasting",
            severity="warning",
            summary="Extraction is paused, and stays so.",
            description=(
                "Too many bytes are in flight: transformer, loader or sink are slower than the"
                " source. Nothing is lost; the backlog grows."
            ),
            query=f"max({highest(f'etl_backpressure_active{{{REDIS}}}', t.bridge_seconds)})",
            limit=Limit(">", 0),
            for_seconds=t.back_pressure_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Bytes in flight"),
        ),
    )


def loss_alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Alerts on samples that did not arrive."""
    dead_letters = f"etl_dead_letters_kept{{{REDIS}}}"
    gaps = f"etl_gaps_declared{{{REDIS}}}"
    lost = f'etl_dropped_samples_total{{{STAGE_JOBS}, reason="payload_lost"}}'
    return (
        Alert(
            name="EtlDeadLettersAppearing",
            severity="warning",
            summary="Samples could not be delivered and became dead letters.",
            description=(
                "{{ .Value | humanize }} dead letters more than"
                f" {duration(t.dead_letters_window_seconds)} ago: `etlctl dead-letters list`"
                " shows why."
            ),
            # A replay or a purge lowers the count, and is no news.
            query=(
                f"max({latest(dead_letters, t.bridge_seconds)})\n"
                f"- max(min_over_time({dead_letters}[{duration(t.dead_letters_window_seconds)}]))"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Dead letters"),
        ),
        Alert(
            name="EtlDeadLettersNearCap",
            severity="warning",
            summary="The dead letters are on their way to their cap.",
            description=(
                "{{ .Value | humanizePercentage }} of the dead letters that may be kept are there."
                " At the cap, entries with samples that would join them wait."
            ),
            query=(
                f"max({latest(dead_letters, t.bridge_seconds)})\n"
                f"/ max({latest('etl_dead_letters_max', t.bridge_seconds)})"
            ),
            limit=Limit(">", t.dead_letters_share),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Dead letters"),
        ),
        Alert(
            name="EtlLedgerOutOfBalance",
            severity="critical",
            summary="The ledger does not account for every sample.",
            description=(
                "{{ .Value | humanize }} samples are neither loaded, dropped, dead letters nor in"
                " flight, or came from nowhere: loss or a defect."
            ),
            query=f"max({highest(f'etl_ledger_imbalance_samples{{{REDIS}}}', t.bridge_seconds)})",
            limit=Limit(">", 0),
            # The audit is atomic: there is no instant at which another value is normal.
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Ledger imbalance"),
        ),
        Alert(
            name="EtlPayloadsLost",
            severity="warning",
            summary="Redis lost payloads of entries; their windows are extracted again.",
            description=(
                "{{ .Value | humanize }} samples of the last"
                f" {duration(t.payloads_window_seconds)} were in entries whose payload Redis no"
                " longer had. Prometheus is asked for them again."
            ),
            query=or_zero(
                "sum(\n  " + burst(lost, t.payloads_window_seconds).replace("\n", "\n  ") + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Dropped samples"),
        ),
        Alert(
            name="EtlExtractionGap",
            severity="critical",
            summary="Prometheus no longer has samples that were not extracted yet.",
            description=(
                "{{ .Labels.query }} ({{ .Labels.tier }}) has {{ .Value | humanize }} gaps more"
                " than before: `etlctl status` shows their bounds."
            ),
            query=(
                "max by (query, tier) (\n"
                f"  {latest(gaps, t.bridge_seconds)}\n"
                f"  - min_over_time({gaps}[{duration(t.gap_window_seconds)}])\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Gaps"),
        ),
    )


def redis_alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Alerts on Redis itself."""
    used, limit = (
        f"max({latest(f'etl_redis_memory_{which}_bytes{{{REDIS}}}', t.bridge_seconds)})"
        for which in ("used", "max")
    )
    return (
        Alert(
            name="EtlRedisUnreachable",
            severity="critical",
            summary="The ledger in Redis cannot be read.",
            description=(
                "etl-metrics cannot read Redis: either nothing moves, or it moves unseen. Every"
                " other alert on streams, windows and ledger is blind meanwhile."
            ),
            query=f"max({latest(f'etl_redis_up{{{REDIS}}}', t.bridge_seconds)})",
            limit=Limit("<", 1),
            for_seconds=t.redis_down_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Redis"),
        ),
        Alert(
            name="EtlRedisFileFailing",
            severity="critical",
            summary="Redis cannot write its append-only file.",
            description=(
                "The last {{ .Labels.operation }} of Redis' append-only file failed (disk full?)."
                " Without the file, what is in flight is gone with the next restart."
            ),
            query=(
                "min by (operation) (\n  "
                + latest(f"etl_redis_aof_ok{{{REDIS}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit("<", 1),
            for_seconds=t.redis_file_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Redis"),
        ),
        Alert(
            name="EtlRedisMayEvict",
            severity="critical",
            summary="Redis may throw the pipeline's data away.",
            description=(
                "Redis' maxmemory-policy is not noeviction: when its memory is full, it throws keys"
                " away instead of refusing to write."
            ),
            query=f"max({latest(f'etl_redis_may_evict{{{REDIS}}}', t.bridge_seconds)})",
            limit=Limit(">", 0),
            for_seconds=t.redis_eviction_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Eviction"),
        ),
        Alert(
            name="EtlRedisEvicted",
            severity="critical",
            summary="Redis threw keys away because its memory was full.",
            description=(
                "Redis threw {{ .Value | humanize }} keys away in the last"
                f" {duration(t.evicted_window_seconds)}: data of the pipeline may be among them."
            ),
            query=(
                f"max(increase(etl_redis_evicted_keys_total{{{REDIS}}}"
                f"[{duration(t.evicted_window_seconds)}]))"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Keys evicted"),
        ),
        Alert(
            name="EtlForeignJobs",
            severity="critical",
            summary="Somebody else writes to the pipeline's queues in Redis.",
            description=(
                "{{ .Value | humanize }} jobs in the extractor's queues in the last"
                f" {duration(t.foreign_jobs_window_seconds)} were not its own. They were refused"
                " and removed; none ran."
            ),
            query=or_zero(
                "sum(\n  "
                + burst(
                    f"etl_jobs_refused_total{{{EXTRACTOR}}}", t.foreign_jobs_window_seconds
                ).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Foreign jobs refused"),
        ),
        Alert(
            name="EtlRedisMemoryHigh",
            severity="warning",
            summary="Redis is close to its memory limit.",
            description=(
                "Redis uses {{ .Value | humanizePercentage }} of its maxmemory. When it is full,"
                " extraction stands still; nothing is evicted."
            ),
            # Absent where Redis has no limit.
            query=f"{used}\n/ {limit}",
            limit=Limit(">", t.redis_memory_share),
            for_seconds=t.redis_memory_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Redis memory"),
        ),
    )
