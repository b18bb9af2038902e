"""Every metric of the project, each defined once; docs/metrics.md is rendered from this table.

Base units, ``_total`` on counters, no identifiers in labels: windows, entries and tokens are in the
log. The stages differ in the scrape's own ``job`` label.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

EXTRACTOR, TRANSFORMER, LOADER = "extractor", "transformer", "loader"
STAGES = (EXTRACTOR, TRANSFORMER, LOADER)
CONSUMERS = (TRANSFORMER, LOADER)
# Exports what no single process knows: the ledger in Redis, and the simulated ETL process.
ETL_METRICS = "etl-metrics"
# The simulator, by the name of its scrape job: its ETL process exports its own metrics, too.
TEST_APP = "test-app"

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric; ``services`` are those that export it, by the names of their scrape jobs.

    They do so from their start, unless ``eager`` is False: a 0 that nobody has read yet would be
    wrong, so the metric appears when it is first set.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    services: tuple[str, ...] = STAGES
    buckets: tuple[float, ...] = ()
    eager: bool = True


def _counter(name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES) -> MetricSpec:
    return MetricSpec(name, "counter", help_, labels, services)


def _gauge(name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES) -> MetricSpec:
    return MetricSpec(name, "gauge", help_, labels, services)


def _nine(kind: Kind, name: str, help_: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, kind, help_, labels, (*STAGES, ETL_METRICS, TEST_APP))


def _histogram(
    name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES
) -> MetricSpec:
    return MetricSpec(name, "histogram", help_, labels, services, SECONDS_BUCKETS)


# What etl-metrics reads from Redis, or from the log of the simulated ETL process; absent while that
# cannot be read.
_read = partial(MetricSpec, services=(ETL_METRICS,), eager=False)


def _ledger(name: str, help_: str, *labels: str) -> MetricSpec:
    return _read(name, "gauge", help_, labels)


def _log(name: str, help_: str, *labels: str, kind: Kind = "counter") -> MetricSpec:
    return _read(name, kind, help_, labels)


_extraction = partial(_counter, services=(EXTRACTOR,))
_sink = partial(_counter, services=(LOADER,))

_FEED = ("query", "tier")

# What every stage and the simulated ETL process export alike, so that one dashboard serves both.
STANDARD_METRICS = (
    _nine("counter", "etl_records_total", "Records (for a stage: samples) processed"),
    _nine("counter", "etl_files_total", "Files (for a stage: batches) processed"),
    _nine("counter", "etl_failures_total", "Files or batches that failed"),
    _nine("gauge", "etl_current_rate_records_per_second", "Records a second over the last minute"),
    _nine(
        "gauge",
        "etl_avg_processing_time_seconds",
        "Average duration of the batches of the last minute, or of the last minute that had any",
    ),
    _nine(
        "gauge",
        "etl_seconds_since_last_success",
        "Seconds since a batch last succeeded (since the start, before the first)",
    ),
    _nine("gauge", "etl_health_status", "1 while the process is live and ready, else 0"),
    _nine("gauge", "etl_uptime_seconds", "Seconds since the process started"),
    _nine("counter", "etl_errors_by_type_total", "Failures by type of error", "error_type"),
)

_STAGE = (
    _histogram("etl_batch_duration_seconds", "Duration of one batch, until it is settled", "stage"),
    _counter("etl_settled_samples_total", "Samples of settled entries", "stage"),
    _counter("etl_loaded_samples_total", "Samples that the sink has taken", services=(LOADER,)),
    _counter(
        "etl_dropped_samples_total",
        "Samples that are not loaded on purpose, by reason",
        "reason",
        services=CONSUMERS,
    ),
    _counter("etl_dead_letters_total", "Dead letters written", "stage", "reason"),
    _gauge(
        "etl_dead_letters_max",
        "Dead letters that may be kept (`pipeline.dead_letters.max_entries`)",
        services=CONSUMERS,
    ),
    _counter(
        "etl_dead_letters_held_total",
        "Entries released because the dead letters are at their cap",
        "stage",
        services=CONSUMERS,
    ),
    _counter(
        "etl_pauses_total", "Times a stage paused because its dependency did not serve it", "stage"
    ),
    _counter(
        "etl_entries_claimed_total", "Entries taken over from workers that went silent", "stage"
    ),
    _counter("etl_entries_retried_total", "Entries released to be tried again later", "stage"),
    _counter("etl_handler_failures_total", "Batches that ended in a defect of the stage", "stage"),
    _counter(
        "etl_leases_lost_total", "Entries whose lease was lost while a worker had them", "stage"
    ),
    _counter(
        "etl_settlements_refused_total",
        "Settlements refused because the entry was no longer pending with this worker",
        "stage",
    ),
    _counter(
        "etl_settlements_invalid_total", "Settlements refused because they do not add up", "stage"
    ),
    _counter(
        "etl_deleted_pending_entries_total",
        "Entries found deleted while pending: their samples are lost",
        "stage",
    ),
    _counter("etl_redis_errors_total", "Commands that Redis refused or did not reply to", "stage"),
)

_EXTRACTION = (
    _extraction("etl_extracted_samples_total", "Samples committed to the raw stream", *_FEED),
    _extraction("etl_windows_committed_total", "Windows committed", *_FEED),
    _extraction(
        "etl_window_commits_refused_total",
        "Commits refused because the window's lease or configuration had changed",
        *_FEED,
    ),
    _extraction(
        "etl_windows_split_total", "Windows split because the response would be too large", *_FEED
    ),
    _extraction(
        "etl_windows_reopened_total",
        "Committed windows opened again because late samples arrived in them",
        *_FEED,
    ),
    _extraction(
        "etl_repeated_samples_total",
        "Samples that are extracted a second time because their window was opened again",
        *_FEED,
    ),
    _extraction("etl_windows_retried_total", "Windows released to be tried again later", *_FEED),
    _extraction(
        "etl_query_failures_total", "Failed attempts to extract a window", *_FEED, "error_type"
    ),
    _extraction("etl_gaps_total", "Ranges that Prometheus no longer has", *_FEED),
    _extraction("etl_gap_seconds_total", "Seconds of data that Prometheus no longer has", *_FEED),
    _extraction(
        "etl_histogram_samples_skipped_total",
        "Native histogram samples, which line protocol cannot hold, left out",
        "query",
    ),
    _extraction(
        "etl_recheck_failures_total", "Failed attempts to compare a committed window again", *_FEED
    ),
    _extraction(
        "etl_rechecks_abandoned_total",
        "Committed ranges that could not be compared with the source again, or differ each time",
        *_FEED,
    ),
    _gauge(
        "etl_settle_missing_seconds",
        "By how much `settle_seconds` is shorter than the source's scrape and evaluation intervals"
        " need",
        *_FEED,
        services=(EXTRACTOR,),
    ),
    _gauge(
        "etl_planning_held_back_seconds",
        "Time that is not planned yet, because the source's clock is ahead of ours",
        services=(EXTRACTOR,),
    ),
    _extraction("etl_queries_closed_total", "Queries that left the configuration", *_FEED),
    _extraction("etl_scheduler_errors_total", "Jobs that could not be queued"),
    _gauge(
        "etl_source_clock_difference_seconds",
        "Seconds that Prometheus' clock is ahead of another (own, redis, date: that of its own"
        " response): the most of the last minute",
        "clock",
        services=(EXTRACTOR,),
    ),
    _gauge(
        "etl_source_servers",
        "Servers with different history that answer in turn at Prometheus' address; more than 1:"
        " a balancer",
        services=(EXTRACTOR,),
    ),
    _extraction(
        "etl_source_clock_jumps_total", "Times that Prometheus' clock jumped by seconds or more"
    ),
    _extraction("etl_jobs_refused_total", "Foreign jobs in our RQ queues, removed"),
)

_LEDGER = (
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
    _ledger("etl_windows_open", "Windows cut and not yet committed", *_FEED),
    _ledger("etl_backlog_seconds", "Time that is planned and not yet cut into windows", *_FEED),
    _ledger("etl_watermark_timestamp_seconds", "Time up to which everything is extracted", *_FEED),
    _ledger(
        "etl_loaded_watermark_timestamp_seconds",
        "Time up to which everything is loaded, dropped or a dead letter",
        *_FEED,
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
        *_FEED,
        "account",
    ),
    _ledger("etl_ledger_dropped_samples", "Samples of a query that were dropped", *_FEED, "reason"),
    _ledger(
        "etl_ledger_query_imbalance_samples",
        "Samples of a query that the ledger cannot account for; below 0: came from nowhere",
        *_FEED,
    ),
    _ledger(
        "etl_planned_watermark_timestamp_seconds", "Time up to which windows are planned", *_FEED
    ),
    _ledger(
        "etl_windows_unsettled", "Committed windows that still have entries in a stream", *_FEED
    ),
    _ledger(
        "etl_query_failures_in_a_row",
        "Failed attempts since a query last succeeded, or since what is deferred of it did",
        *_FEED,
    ),
    _ledger(
        "etl_deferred_seconds",
        "Time of the backlog no step of which could be extracted: it is tried again now and then",
        *_FEED,
    ),
    _ledger("etl_gaps_declared", "Declared gaps that are kept", *_FEED),
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

_PROCESS_LOG = (
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

_SINK = (
    _sink("etl_sink_posts_total", "Posts to the sink by its response", "response"),
    _sink("etl_sink_posted_bytes_total", "Compressed bytes posted"),
    _histogram(
        "etl_sink_post_duration_seconds",
        "Duration of one post, until its response is read",
        services=(LOADER,),
    ),
    _sink("etl_sink_failures_total", "Posts that failed and are tried again, by cause", "cause"),
    _sink("etl_sink_pauses_total", "Pauses because the sink refused, by cause", "cause"),
    _sink("etl_sink_limited_lines_total", "Lines that a limit of the sink kept out, each time"),
    _sink(
        "etl_sink_untried_samples_total",
        "Samples set aside without a post, as of their measurement nothing was taken lately",
    ),
    _sink("etl_sink_waits_total", "Times the sink requested a wait (Retry-After)"),
    _sink("etl_sink_isolations_total", "Groups whose refused points were isolated"),
    _sink("etl_sink_suspects_total", "Entries isolated because they failed while others passed"),
    _gauge(
        "etl_circuit_state",
        "Circuit breaker of the sink: 0 closed, 1 half-open, 2 open",
        services=(LOADER,),
    ),
    _sink("etl_circuit_changes_total", "Changes of the circuit breaker, by its new state", "state"),
    _gauge(
        "etl_sink_paused",
        "1 while the loader takes no work because the sink refuses it",
        services=(LOADER,),
    ),
    _gauge(
        "etl_sink_shared_buckets",
        "Buckets that also hold another pipeline whose series can be the same",
        services=(LOADER,),
    ),
    _gauge(
        "etl_sink_rejected_share",
        "Share of the latest samples that the sink rejected",
        services=(LOADER,),
    ),
)

GROUPS: tuple[tuple[str, tuple[MetricSpec, ...]], ...] = (
    ("What every stage and the simulated ETL process export", STANDARD_METRICS),
    ("Stages", _STAGE),
    ("Extraction", _EXTRACTION),
    ("Ledger", _LEDGER),
    ("The log of the simulated ETL process", _PROCESS_LOG),
    ("The sink", _SINK),
)

METRICS: tuple[MetricSpec, ...] = tuple(spec for _, specs in GROUPS for spec in specs)
