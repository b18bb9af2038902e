"""Every event of the project: one call writes its log line and moves its counter.

So the two cannot disagree. The metric's labels are taken from the event's fields; all fields are in
the log line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.runtime.metrics_table import METRICS

Level = Literal["debug", "info", "warning", "error", "critical"]

_LABELS = {spec.name: spec.labels for spec in METRICS}


@dataclass(frozen=True, slots=True)
class EventSpec:
    """How an event is logged, and the counter that it moves, if any."""

    level: Level
    help: str
    metric: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Fields that the event must have, because its metric needs them."""
        return _LABELS[self.metric] if self.metric else ()


EVENTS: dict[str, EventSpec] = {
    # every service
    "service_started": EventSpec("info", "The service runs; `port` is where its HTTP listens."),
    "service_stopping": EventSpec("info", "A stop was requested: work in progress is finished."),
    "service_stopped": EventSpec("info", "The service ends, with the exit code named."),
    "service_forced": EventSpec(
        "warning", "A second stop was requested: work in progress stays pending."
    ),
    "drain_deadline_passed": EventSpec(
        "error", "Did not finish within `pipeline.drain_seconds`; the rest stays pending."
    ),
    "service_failed": EventSpec("critical", "Ended by an error that nothing handled."),
    "config_advice": EventSpec("warning", "The configuration is valid, but probably not meant so."),
    "config_changed": EventSpec(
        "info", "The file says something else: the service stops, and begins again with it."
    ),
    "config_unchanged": EventSpec(
        "info", "The file was read again, and says what is in force already."
    ),
    "config_refused": EventSpec(
        "error", "The file was changed and is refused: what was in force stays so."
    ),
    "readiness_changed": EventSpec("info", "A dependency became ready, or stopped being so."),
    "exit_action_failed": EventSpec("warning", "Releasing work at the drain deadline failed."),
    "thread_failed": EventSpec(
        "error", "An error in a thread that nothing handled; the process goes on."
    ),
    "log_lines_dropped": EventSpec(
        "warning", "Who reads stdout was too slow: so many `lines` are missing before this one."
    ),
    "request_refused": EventSpec("warning", "A client gave no or wrong credentials."),
    "identity_conflict": EventSpec(
        "error",
        "The Redis namespace belongs to a pipeline with another source or sink: paused.",
    ),
    # stages
    "dependency_ready": EventSpec("info", "The stage's dependency serves it (again)."),
    "stage_paused": EventSpec(
        "warning", "The stage takes no work until its dependency serves it.", "etl_pauses_total"
    ),
    "entry_claimed": EventSpec(
        "warning", "An entry was taken over from a silent worker.", "etl_entries_claimed_total"
    ),
    "pending_entry_deleted": EventSpec(
        "error",
        "A pending entry was deleted: its samples are lost.",
        "etl_deleted_pending_entries_total",
    ),
    "redis_unavailable": EventSpec("warning", "Redis did not respond.", "etl_redis_errors_total"),
    "handler_failed": EventSpec(
        "error", "A defect of the stage; its entries are released.", "etl_handler_failures_total"
    ),
    "entry_retried": EventSpec(
        "warning", "An entry was released to be tried later.", "etl_entries_retried_total"
    ),
    "settlement_refused": EventSpec(
        "warning",
        "The entry belonged to another worker when it was to be settled.",
        "etl_settlements_refused_total",
    ),
    "settlement_invalid": EventSpec(
        "error",
        "A verdict does not account for the samples of its entry.",
        "etl_settlements_invalid_total",
    ),
    "dead_letters_full": EventSpec(
        "error",
        "The dead letters are at their cap: entries with samples that would join them wait.",
        "etl_dead_letters_held_total",
    ),
    "dead_lettered": EventSpec(
        "error", "Samples could not be delivered and are kept.", "etl_dead_letters_total"
    ),
    "lease_lost": EventSpec(
        "warning",
        "An entry in work now belongs to another worker.",
        "etl_leases_lost_total",
    ),
    "release_failed": EventSpec(
        "warning", "Entries stay pending until their lease runs out, as Redis did not respond."
    ),
    "payload_lost": EventSpec(
        "error",
        "Redis lost the payload of an entry; its window is extracted again, if it is still known.",
    ),
    "redis_unsafe": EventSpec("error", "Redis may throw data away when its memory is full."),
    "redis_unchecked": EventSpec(
        "warning",
        "Redis forbids `INFO` to our user: version, mode, eviction and append-only file are not"
        " checked.",
    ),
    # extraction
    "window_committed": EventSpec("info", "A window was extracted.", "etl_windows_committed_total"),
    "window_refused": EventSpec(
        "warning",
        "A window belonged to another worker when it was to be committed or put back.",
        "etl_window_commits_refused_total",
    ),
    "window_split": EventSpec(
        "warning", "A window was too large and was split.", "etl_windows_split_total"
    ),
    "aof_rewrite_requested": EventSpec(
        "info",
        "Redis was requested to rewrite its append-only file; `why`: it is `new` to us,"
        " `writes_again` after it could not, or the last `rewrite_failed`.",
    ),
    "aof_write_failed": EventSpec(
        "error", "Redis cannot write its append-only file (disk full?) and refuses all writes."
    ),
    "aof_rewrite_refused": EventSpec("info", "Redis does so already, or forbids the command."),
    "mirror_failed": EventSpec(
        "warning", "A dead letter could not be appended to the mirror file; it is in Redis."
    ),
    "window_reopened": EventSpec(
        "warning",
        "Late samples: a committed window is extracted again.",
        "etl_windows_reopened_total",
    ),
    "query_extended": EventSpec(
        "warning", "Redis had lost the feed: it resumes at the watermark that the sink holds."
    ),
    "backfill_begun": EventSpec(
        "info", "The backfill that the configuration asks for a query begins."
    ),
    "backfill_joined": EventSpec(
        "info", "What a backfill has loaded belongs to its query, which begins at `origin_ms` now."
    ),
    "backfill_expired": EventSpec(
        "warning", "Prometheus no longer has the data of a range that a backfill was to extract."
    ),
    "recheck_failed": EventSpec(
        "warning",
        "Committed windows could not be compared with the source again; tried again later.",
        "etl_recheck_failures_total",
    ),
    "recheck_abandoned": EventSpec(
        "error",
        "A committed range could not be compared again for hours, or differs each time: late"
        " samples of it may be missing.",
        "etl_rechecks_abandoned_total",
    ),
    "watermark_failed": EventSpec(
        "warning", "The loaded watermark could not be read from or written to the sink."
    ),
    "seals_failed": EventSpec(
        "warning",
        "Seals of windows, or configurations that came into force, could not be written to the "
        "sink; they wait in Redis.",
    ),
    "seals_unknown": EventSpec(
        "warning",
        "What was loaded of windows is not known whole, as an older version loaded a part of it, or"
        " their sum in Redis is damaged: the sink is told that they have no seal.",
        "etl_seals_unknown_total",
    ),
    "seals_expired": EventSpec(
        "debug", "Seals are older than the sink keeps points.", "etl_seals_expired_total"
    ),
    "bucket_shared": EventSpec(
        "warning",
        "A bucket also holds another pipeline that can write the same series.",
    ),
    "window_retried": EventSpec(
        "warning", "A window was released to be tried later.", "etl_windows_retried_total"
    ),
    "query_failed": EventSpec(
        "error", "A window could not be extracted.", "etl_query_failures_total"
    ),
    "query_remark": EventSpec("info", "Prometheus added an info to the result of a query."),
    "gap_declared": EventSpec(
        "error", "Prometheus no longer has the data of a range.", "etl_gaps_total"
    ),
    "histograms_dropped": EventSpec(
        "warning",
        "A query gives native histograms, which are dropped: `samples` in this window. Said once"
        " for each query; all are counted.",
    ),
    "remote_read_fallback": EventSpec(
        "warning",
        "A window was read by JSON, as its answer by remote read could not be trusted. Said once"
        " for each query and `reason`; all are counted.",
    ),
    "query_adopted": EventSpec("info", "A query is planned for the first time, or changed."),
    "query_stale_config": EventSpec(
        "warning", "Another configuration of this query is in force: nothing is leased."
    ),
    "query_closed": EventSpec(
        "warning",
        "A query left the configuration; `backlog_ms` is its remaining backlog.",
        "etl_queries_closed_total",
    ),
    "settle_too_short": EventSpec(
        "warning",
        "Samples of a query are extracted before the source has them all: raise `settle_seconds`.",
    ),
    "settle_unchecked": EventSpec(
        "debug", "The source does not report the intervals that `settle_seconds` depends on."
    ),
    "source_clock_ahead": EventSpec(
        "warning", "The source's clock is ahead of ours: what is beyond is planned later."
    ),
    "push_started": EventSpec("info", "Remote write is taken, on `port`."),
    "back_pressure_on": EventSpec("warning", "Extraction pauses: too many bytes are in flight."),
    "back_pressure_off": EventSpec("info", "Extraction resumes."),
    "plan_failed": EventSpec("warning", "Windows could not be planned; tried again."),
    "discard_failed": EventSpec(
        "warning", "Staged payloads stay until they expire, as Redis did not respond."
    ),
    "scheduling_failed": EventSpec(
        "warning", "A job could not be queued.", "etl_scheduler_errors_total"
    ),
    "source_clock_jumped": EventSpec(
        "error",
        "Prometheus' clock jumped by so many `seconds`; ahead, it is not believed for a while.",
        "etl_source_clock_jumps_total",
    ),
    "query_begins_later": EventSpec(
        "warning",
        "A new query begins at Prometheus' lowest timestamp, later than"
        " `extract.initial_lookback_seconds` asks for: nothing answered for the time before.",
    ),
    "query_begins_before_source": EventSpec(
        "info",
        "A new query begins before Prometheus' own lowest timestamp, as it answers for that time"
        " too: from a long-term store, perhaps.",
    ),
    "source_alternates": EventSpec(
        "error",
        "Several Prometheus answer in turn at one address, as behind a balancer: what only one of"
        " them holds may be read from another. Name one of them, or pin the balancer.",
    ),
    "replica_away": EventSpec(
        "warning",
        "A replica of the source does not answer; windows are read from the others meanwhile.",
    ),
    "replica_back": EventSpec("info", "A replica of the source answers again."),
    "job_refused": EventSpec(
        "error",
        "A job in our RQ queues that is not the extractor's was removed: somebody else writes"
        " there.",
        "etl_jobs_refused_total",
    ),
    "job_failed": EventSpec("error", "A defect of the extractor; the next job goes on."),
    "suspension_ignored": EventSpec(
        "warning", "RQ's workers were suspended by somebody; the extractor goes on."
    ),
    # loading
    "sink_refused_points": EventSpec(
        "warning", "The sink refused points of a group.", "etl_sink_isolations_total"
    ),
    "sink_points_isolated": EventSpec("info", "The refused points of a group were found."),
    "sink_limit_reached": EventSpec(
        "error",
        "A limit of the sink keeps lines out, and names their measurement or tag.",
        "etl_sink_limited_lines_total",
    ),
    "sink_retention_unknown": EventSpec(
        "warning",
        "InfluxDB 3 does not say how long it keeps points; those of tiers that are `not_configured`"
        " either vanish there when they are too old, and count as loaded.",
    ),
    "sink_failed": EventSpec(
        "warning", "A post failed and is tried again.", "etl_sink_failures_total"
    ),
    "sink_paused": EventSpec(
        "error",
        "The sink refuses writes: nothing is taken or dropped.",
        "etl_sink_pauses_total",
    ),
    "sink_resumed": EventSpec("info", "The sink takes points again."),
    "sink_retry_after": EventSpec(
        "warning", "The sink requested a wait (Retry-After).", "etl_sink_waits_total"
    ),
    "sink_circuit_changed": EventSpec(
        "warning", "The circuit breaker changed its state.", "etl_circuit_changes_total"
    ),
    "sink_url_changed": EventSpec(
        "warning",
        "Another URL of the sink is used from now on: the one before failed, or `first` is back.",
        "etl_sink_url_changes_total",
    ),
    "sink_suspect_isolated": EventSpec(
        "warning",
        "An entry fails while others pass, so it is tried by itself.",
        "etl_sink_suspects_total",
    ),
    # verifying
    "verify_differs": EventSpec(
        "error", "A range of the sink differs from the source, and nothing explains it."
    ),
    "verify_repairs": EventSpec(
        "warning",
        "A range that differs is extracted again.",
        "etl_verify_repairs_total",
    ),
    "verify_repair_denied": EventSpec(
        "error", "Redis does not let the verifier's user put a range back to be extracted again."
    ),
    "verify_equal_again": EventSpec("info", "A range that differed is equal now."),
    "verify_unproven": EventSpec(
        "warning",
        "The source had deleted a range before it was compared, or while it differed, and no seal"
        " proves it.",
        "etl_verify_unproven_seconds_total",
    ),
    "verify_sealed": EventSpec(
        "info",
        "The source had deleted a range before it was compared; its seals are intact.",
        "etl_verify_proven_by_seal_seconds_total",
    ),
    "verify_damaged": EventSpec(
        "error", "A range that the source has deleted is not what was loaded, by its seals."
    ),
    "sink_restarted": EventSpec(
        "info",
        "InfluxDB was started anew; what was proven of late is compared again, as a crash before"
        " may have cost it what it accepted.",
    ),
    "verify_failed": EventSpec(
        "warning", "A range of a query could not be read from the source; tried again later."
    ),
    # etl-metrics
    "process_log_read": EventSpec("info", "The ETL process' log was read up to its end."),
    "process_log_lines_skipped": EventSpec(
        "warning", "Lines of the ETL process' log were left out: how many for which reason."
    ),
    "ledger_incomplete": EventSpec(
        "warning", "A part of the ledger in Redis cannot be read; its series are absent."
    ),
    # the simulator
    "scenario_requested": EventSpec("info", "A client switched the scenario."),
    "etl_log_failed": EventSpec(
        "error", "The ETL process' log cannot be written; the simulator is unhealthy."
    ),
    "etl_log_works_again": EventSpec("info", "The ETL process' log can be written again."),
}
