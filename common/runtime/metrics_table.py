"""Every metric of the project, each defined once; docs/metrics.md is rendered from this table.

Base units, ``_total`` on counters, no identifiers in labels: windows, entries and tokens are in the
log. The stages differ in the scrape's own ``job`` label.
"""

from __future__ import annotations

from functools import partial

from common.runtime.metrics.etl_metrics import LEDGER, PROCESS_LOG
from common.runtime.metrics.spec import (
    CONSUMERS,
    ETL_METRICS,
    EXTRACTOR,
    FEED,
    LOADER,
    STAGES,
    TEST_APP,
    TRANSFORMER,
    VERIFIER,
    Kind,
    MetricSpec,
    counter,
    gauge,
    histogram,
)

__all__ = [
    "ETL_METRICS",
    "EXTRACTOR",
    "GROUPS",
    "LOADER",
    "METRICS",
    "STANDARD_METRICS",
    "TRANSFORMER",
    "VERIFIER",
    "MetricSpec",
]


def _nine(kind: Kind, name: str, help_: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, kind, help_, labels, (*STAGES, VERIFIER, ETL_METRICS, TEST_APP))


_extraction = partial(counter, services=(EXTRACTOR,))
_sink = partial(counter, services=(LOADER,))

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
    histogram("etl_batch_duration_seconds", "Duration of one batch, until it is settled", "stage"),
    counter("etl_settled_samples_total", "Samples of settled entries", "stage"),
    counter("etl_loaded_samples_total", "Samples that the sink has taken", services=(LOADER,)),
    counter(
        "etl_dropped_samples_total",
        "Samples that are not loaded on purpose, by reason",
        "reason",
    ),
    counter("etl_dead_letters_total", "Dead letters written", "stage", "reason"),
    gauge(
        "etl_dead_letters_max",
        "Dead letters that may be kept (`pipeline.dead_letters.max_entries`)",
        services=CONSUMERS,
    ),
    counter(
        "etl_dead_letters_held_total",
        "Entries released because the dead letters are at their cap",
        "stage",
        services=CONSUMERS,
    ),
    counter(
        "etl_pauses_total", "Times a stage paused because its dependency did not serve it", "stage"
    ),
    counter(
        "etl_entries_claimed_total", "Entries taken over from workers that went silent", "stage"
    ),
    counter("etl_entries_retried_total", "Entries released to be tried again later", "stage"),
    counter("etl_handler_failures_total", "Batches that ended in a defect of the stage", "stage"),
    counter(
        "etl_leases_lost_total", "Entries whose lease was lost while a worker had them", "stage"
    ),
    counter(
        "etl_settlements_refused_total",
        "Settlements refused because the entry was no longer pending with this worker",
        "stage",
    ),
    counter(
        "etl_settlements_invalid_total", "Settlements refused because they do not add up", "stage"
    ),
    counter(
        "etl_deleted_pending_entries_total",
        "Entries found deleted while pending: their samples are lost",
        "stage",
    ),
    counter("etl_redis_errors_total", "Commands that Redis refused or did not reply to", "stage"),
)

_EXTRACTION = (
    _extraction("etl_extracted_samples_total", "Samples committed to the raw stream", *FEED),
    _extraction("etl_windows_committed_total", "Windows committed", *FEED),
    _extraction(
        "etl_window_commits_refused_total",
        "Commits refused because the window's lease or configuration had changed",
        *FEED,
    ),
    _extraction(
        "etl_windows_split_total", "Windows split because the response would be too large", *FEED
    ),
    _extraction(
        "etl_windows_reopened_total",
        "Committed windows opened again because late samples arrived in them",
        *FEED,
    ),
    _extraction(
        "etl_repeated_samples_total",
        "Samples that are extracted a second time because their window was opened again",
        *FEED,
    ),
    _extraction("etl_pushed_samples_total", "Samples that were pushed, by outcome", "outcome"),
    _extraction("etl_push_requests_total", "Requests of remote write, by HTTP status", "status"),
    _extraction("etl_windows_retried_total", "Windows released to be tried again later", *FEED),
    _extraction(
        "etl_query_failures_total", "Failed attempts to extract a window", *FEED, "error_type"
    ),
    _extraction("etl_gaps_total", "Ranges that Prometheus no longer has", *FEED),
    _extraction("etl_gap_seconds_total", "Seconds of data that Prometheus no longer has", *FEED),
    _extraction(
        "etl_recheck_failures_total", "Failed attempts to compare a committed window again", *FEED
    ),
    _extraction(
        "etl_rechecks_abandoned_total",
        "Committed ranges that could not be compared with the source again, or differ each time",
        *FEED,
    ),
    gauge(
        "etl_settle_missing_seconds",
        "By how much `settle_seconds` is shorter than the source's scrape and evaluation intervals"
        " need",
        *FEED,
        services=(EXTRACTOR,),
    ),
    gauge(
        "etl_planning_held_back_seconds",
        "Time that is not planned yet, because the source's clock is ahead of ours",
        "source",
        services=(EXTRACTOR,),
    ),
    _extraction("etl_queries_closed_total", "Queries that left the configuration", *FEED),
    _extraction("etl_scheduler_errors_total", "Jobs that could not be queued"),
    gauge(
        "etl_source_clock_difference_seconds",
        "Seconds that Prometheus' clock is ahead of another (own, redis, date: that of its own"
        " response): the most of the last minute",
        "clock",
        "source",
        services=(EXTRACTOR,),
    ),
    gauge(
        "etl_source_servers",
        "Servers with different history that answer in turn at Prometheus' address; more than 1:"
        " a balancer",
        "source",
        services=(EXTRACTOR,),
    ),
    gauge(
        "etl_replica_lacks_ratio",
        "Share that a replica of the source lacks of the newest samples that another has; 1 while"
        " it does not answer",
        "source",
        "replica",
        services=(EXTRACTOR,),
    ),
    _extraction(
        "etl_replica_windows_total",
        "Windows that were read whole from a replica of the source",
        "source",
        "replica",
    ),
    _extraction(
        "etl_source_clock_jumps_total", "Times that Prometheus' clock jumped by seconds or more"
    ),
    counter(
        "etl_remote_read_fallbacks_total",
        "Windows that were read by JSON, as their answer by remote read could not be trusted",
        "reason",
        services=(EXTRACTOR, VERIFIER),
    ),
    _extraction("etl_jobs_refused_total", "Foreign jobs in our RQ queues, removed"),
)

_SINK = (
    _sink("etl_sink_posts_total", "Posts to the sink by its response", "response"),
    _sink("etl_sink_posted_bytes_total", "Compressed bytes posted"),
    histogram(
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
    gauge(
        "etl_circuit_state",
        "Circuit breaker of the sink: 0 closed, 1 half-open, 2 open",
        services=(LOADER,),
    ),
    _sink("etl_circuit_changes_total", "Changes of the circuit breaker, by its new state", "state"),
    _sink(
        "etl_sink_rate_limited_seconds_total",
        "Seconds that posts waited because of `load.influxdb.rate_limit_bytes_per_second`",
    ),
    _sink("etl_sink_url_changes_total", "Times another URL of the sink was taken into use"),
    gauge(
        "etl_sink_paused",
        "1 while the loader takes no work because the sink refuses it",
        services=(LOADER,),
    ),
    gauge(
        "etl_sink_shared_buckets",
        "Buckets that also hold another pipeline whose series can be the same",
        services=(LOADER,),
    ),
    _sink("etl_seals_written_total", "Seals of windows written to the sink"),
    _sink(
        "etl_seals_unknown_total",
        "Windows of which the sink was told that they have no seal: an older version loaded a part",
    ),
    _sink("etl_seals_expired_total", "Seals that the sink refused as older than it keeps points"),
    gauge(
        "etl_sink_retention_unknown",
        "1 while InfluxDB 3 does not say how long it keeps the points of a tier, else 0;"
        " `configured`: whether `load.tiers.*.retention` does",
        "tier",
        "configured",
        services=(LOADER,),
    ),
    gauge(
        "etl_sink_rejected_share",
        "Share of the latest samples that the sink rejected",
        services=(LOADER,),
    ),
)

_VERIFICATION = (
    gauge(
        "etl_verified_timestamp_seconds",
        "Time up to which the sink was compared with the source, or with its seals where that had"
        " deleted it",
        *FEED,
        services=(VERIFIER,),
    ),
    gauge(
        "etl_verify_waiting_seconds",
        "Time that is loaded, had its last recount and is not compared yet, without what backfills"
        " have loaded",
        *FEED,
        services=(VERIFIER,),
    ),
    gauge(
        "etl_verify_history_waiting_seconds",
        "Time that backfills have loaded and that is not compared yet, and time that is compared"
        " again because InfluxDB was started anew: after what is live",
        *FEED,
        services=(VERIFIER,),
    ),
    gauge(
        "etl_verify_differing_points",
        "Points that differ from the source for no known reason, or from their seals, where that"
        " has deleted them: in the ranges that still differ",
        *FEED,
        services=(VERIFIER,),
    ),
    counter(
        "etl_verify_pieces_total",
        "Ranges compared: with the source, equal or differs; with their seals, intact or damaged",
        "result",
        services=(VERIFIER,),
    ),
    counter(
        "etl_verify_repairs_total",
        "Ranges that differed and were put back to be extracted again",
        *FEED,
        services=(VERIFIER,),
    ),
    counter(
        "etl_verify_unproven_seconds_total",
        "Time that the source had deleted before it could be compared, and that no seal proves",
        *FEED,
        services=(VERIFIER,),
    ),
    counter(
        "etl_verify_proven_by_seal_seconds_total",
        "Time that the source had deleted before it could be compared, and whose seals are intact",
        *FEED,
        services=(VERIFIER,),
    ),
    counter(
        "etl_verify_cpu_seconds_total",
        "Processor time that comparing took, of which `verify.cpu_share` is a bound",
        services=(VERIFIER,),
    ),
)

_CONFIGURATION = (
    gauge(
        "etl_config_last_reload_successful",
        "1 while the configuration file as it is now was accepted, 0 while it is refused",
        services=(*STAGES, VERIFIER),
    ),
    gauge(
        "etl_config_last_reload_success_timestamp_seconds",
        "When the configuration file was last read and accepted",
        services=(*STAGES, VERIFIER),
    ),
)

GROUPS: tuple[tuple[str, tuple[MetricSpec, ...]], ...] = (
    ("What every stage and the simulated ETL process export", STANDARD_METRICS),
    ("Stages", _STAGE),
    ("Extraction", _EXTRACTION),
    ("Ledger", LEDGER),
    ("The log of the simulated ETL process", PROCESS_LOG),
    ("The sink", _SINK),
    ("Verification", _VERIFICATION),
    ("Configuration", _CONFIGURATION),
)

METRICS: tuple[MetricSpec, ...] = tuple(spec for _, specs in GROUPS for spec in specs)
