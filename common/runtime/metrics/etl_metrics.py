"""What etl-metrics reads: the ledger and Redis itself, and the log of the simulated ETL process."""

from __future__ import annotations

from functools import partial

from common.runtime.metrics.spec import ETL_METRICS, FEED, Kind, MetricSpec

# What etl-metrics reads from Redis, or from the log of the simulated ETL process; absent while that
# cannot be read.
_read = partial(MetricSpec, services=(ETL_METRICS,), eager=False)


def _ledger(name: str, help_: str, *labels: str) -> MetricSpec:
    return _read(name, "gauge", help_, labels)


def _log(name: str, help_: str, *labels: str, kind: Kind = "counter") -> MetricSpec:
    return _read(name, kind, help_, labels)


LEDGER = (
    _ledger("etl_stream_entries", "Entries in a stream", "stream"),
    _ledger("etl_stream_samples", "Samples in a stream", "stream"),
    _ledger("etl_stream_bytes", "Bytes of payload in a stream", "stream"),
    _ledger(
        "etl_stream_oldest_entry_age_seconds",
        "Age of the oldest entry of a stream, 0 if it is empty",
        "stream",
    ),
    _ledger("etl_in_flight_bytes", "Bytes in the streams and staged beside them"),
    _ledger("etl_backpressure_active", "1 while extraction pauses as too many bytes are in flight"),
    _ledger("etl_windows_open", "Windows cut and not yet committed", *FEED),
    _ledger("etl_backlog_seconds", "Time that is planned and not yet cut into windows", *FEED),
    _ledger("etl_watermark_timestamp_seconds", "Time up to which everything is extracted", *FEED),
    _ledger(
        "etl_loaded_watermark_timestamp_seconds",
        "Time up to which everything is loaded, dropped or a dead letter",
        *FEED,
    ),
    _ledger(
        "etl_lag_limit_seconds",
        "Age of what is loaded above which a query counts as behind",
        *FEED,
    ),
    _ledger(
        "etl_ledger_imbalance_samples",
        "Samples that the ledger cannot account for: anything but 0 is loss or a defect",
    ),
    _ledger(
        "etl_stream_pending_entries",
        "Entries of a stream that workers took and did not settle yet",
        "stream",
    ),
    _ledger(
        "etl_stream_delayed_entries",
        "Pending entries that wait to be tried again and belong to no worker",
        "stream",
    ),
    _ledger(
        "etl_stream_lost_samples",
        "Samples recorded in a stream whose entry or payload is no longer there",
        "stream",
    ),
    _ledger(
        "etl_stream_unaccounted_entries",
        "Entries of a stream that the ledger does not know",
        "stream",
    ),
    _ledger("etl_staged_bytes", "Bytes that wait beside the streams for their window's commit"),
    _ledger(
        "etl_ledger_samples",
        "Samples of a query by what became of them: extracted = loaded + dropped + dead_lettered"
        " + in_flight",
        *FEED,
        "account",
    ),
    _ledger("etl_ledger_dropped_samples", "Samples of a query that were dropped", *FEED, "reason"),
    _ledger(
        "etl_ledger_query_imbalance_samples",
        "Samples of a query that the ledger cannot account for; below 0: came from nowhere",
        *FEED,
    ),
    _ledger(
        "etl_planned_watermark_timestamp_seconds", "Time up to which windows are planned", *FEED
    ),
    _ledger("etl_origin_timestamp_seconds", "Time from which windows are planned", *FEED),
    _ledger(
        "etl_windows_unsettled", "Committed windows that still have entries in a stream", *FEED
    ),
    _ledger("etl_seals_due", "Seals of windows that wait to be written to the sink"),
    _ledger(
        "etl_query_failures_in_a_row",
        "Failed attempts since a query last succeeded, or since what is deferred of it did",
        *FEED,
    ),
    _ledger(
        "etl_query_empty_seconds",
        "How long a query has matched no series, up to the newest time that is extracted",
        *FEED,
    ),
    _ledger(
        "etl_deferred_seconds",
        "Time of the backlog no step of which could be extracted: it is tried again now and then",
        *FEED,
    ),
    _ledger(
        "etl_backfill_remaining_seconds",
        "Time before the first window that backfills are still to extract",
        *FEED,
    ),
    _ledger("etl_gaps_declared", "Declared gaps that are kept", *FEED),
    _ledger("etl_dead_letters_kept", "Dead letters that wait for an operator"),
    _ledger(
        "etl_dead_letter_entries",
        "Dead letters kept, by the stage that wrote them and its reason",
        "stage",
        "reason",
    ),
    _ledger("etl_dead_letter_samples", "Samples of the dead letters kept", "stage", "reason"),
    _ledger(
        "etl_dead_letter_counted_samples",
        "Samples of dead letters that are only counted",
        "stage",
        "reason",
    ),
    _ledger("etl_workers", "Workers that were active lately", "stage"),
    _ledger("etl_rq_jobs", "Jobs in an RQ queue and in its registries", "queue", "state"),
    _ledger("etl_redis_memory_used_bytes", "Memory that Redis uses"),
    _ledger("etl_redis_memory_max_bytes", "Memory that Redis may use; absent if it has no limit"),
    _ledger(
        "etl_redis_aof_ok",
        "1 if Redis' last write to its append-only file, or rewrite of it, succeeded, else 0;"
        " absent without such a file",
        "operation",
    ),
    _ledger(
        "etl_redis_may_evict",
        "1 if Redis throws keys away at its memory limit (`maxmemory-policy`), else 0",
    ),
    _read(
        "etl_redis_evicted_keys_total",
        "counter",
        "Keys that Redis has thrown away since its start because its memory was full",
    ),
    _read(
        "etl_redis_logins_refused_total",
        "counter",
        "Logins that Redis has refused since its start; absent before Redis 7.2",
    ),
    _ledger("etl_redis_up", "1 if the latest attempt to read Redis succeeded, else 0"),
    _ledger("etl_redis_read_seconds", "Duration of the latest reading of Redis"),
    _ledger("etl_redis_audit_seconds", "Duration of its audit, all steps"),
    _read(
        "etl_redis_read_failures_total",
        "counter",
        "Readings of Redis that failed, by the part that was missing",
        ("part",),
    ),
)

PROCESS_LOG = (
    _log("etl_log_up", "1 while the log of the ETL process can be read, else 0", kind="gauge"),
    _log("etl_log_lines_total", "Lines of the log that were understood"),
    _log("etl_log_lines_skipped_total", "Lines of the log that were left out, by reason", "reason"),
    _log("etl_log_lines_missed_total", "Lines that the process wrote and that were not read"),
    _log(
        "etl_log_breaks_total",
        "Times the file read last was no longer there: an unknown number of lines may be missing",
    ),
    _log("etl_log_files_begun_total", "Files of the log that were begun, by what led there", "why"),
    _log("etl_log_read_failures_total", "Times the log became unreadable, by reason", "reason"),
    _log("etl_process_runs_total", "Runs of the ETL process that the log shows"),
)
