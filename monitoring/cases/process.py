"""Cases of the alerts on processes and stages by their nine metrics."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, over, quiet

_SIMULATED = "job='etl-metrics', instance='m:1'"
_LOADER = "job='loader', instance='l:1'"
# Files are large and few: the rate of single minutes swings widely.
_SWINGING = " ".join(["3 17 4 16 2 18"] * 10)

CASES = (
    fires(
        "EtlHealthCheckFailed",
        "fires two minutes after a process became unhealthy",
        {
            f"etl_health_status{{{_SIMULATED}}}": "1x8 0x20",
            f"etl_health_status{{{_LOADER}}}": "1x40",
        },
        of(
            "etl-metrics (m:1) has not been live and ready for 2m or longer.",
            job="etl-metrics",
            instance="m:1",
        ),
        at=300,
    ),
    fires(
        "EtlHealthCheckFailed",
        "fires although scrapes fail in between",
        {f"etl_health_status{{{_LOADER}}}": "0x2 _ 0x2 _ _ 0x10"},
        of(
            "loader (l:1) has not been live and ready for 2m or longer.",
            job="loader",
            instance="l:1",
        ),
        at=150,
    ),
    quiet(
        "EtlHealthCheckFailed",
        "is quiet when the process is healthy again within two minutes",
        {f"etl_health_status{{{_SIMULATED}}}": "1x8 0x6 1x20"},
        at=300,
    ),
    absent("EtlHealthCheckFailed", "is quiet where no process has metrics"),
    fires(
        "EtlMetricsEndpointUnavailable",
        "fires a minute after the scrapes began to fail",
        {
            "up{job='etl-metrics', instance='m:1'}": "1x8 0x20",
            "up{job='test-app', instance='s:1'}": "1x40",
        },
        of(
            "Prometheus cannot scrape etl-metrics: until it can, what happens there is not seen.",
            job="etl-metrics",
            instance="m:1",
        ),
        at=240,
    ),
    fires(
        "EtlMetricsEndpointUnavailable",
        "fires when Prometheus is not let in to its own metrics",
        {
            "up{job='etl-metrics', instance='m:1'}": "1x40",
            "up{job='prometheus', instance='p:1'}": "0x40",
        },
        of(
            "Prometheus cannot scrape prometheus: until it can, what happens there is not seen.",
            job="prometheus",
            instance="p:1",
        ),
        at=240,
    ),
    quiet(
        "EtlMetricsEndpointUnavailable",
        "is quiet at one failed scrape",
        {"up{job='etl-metrics', instance='m:1'}": "1x8 0 1x20"},
        at=240,
    ),
    absent(
        "EtlMetricsEndpointUnavailable",
        "fires where etl-metrics is no target at all",
        of(
            "Prometheus cannot scrape etl-metrics: until it can, what happens there is not seen.",
            job="etl-metrics",
        ),
    ),
    fires(
        "EtlProcessLogUnreadable",
        "fires two minutes after the log became unreadable",
        {f"etl_log_up{{{_SIMULATED}}}": "1x8 0x20"},
        of(
            "etl-metrics cannot read the JSON log that it follows, so the metrics of the process"
            " behind it stand still or are missing.",
            job="etl-metrics",
            instance="m:1",
        ),
        at=300,
    ),
    quiet(
        "EtlProcessLogUnreadable",
        "is quiet while the log can be read",
        {f"etl_log_up{{{_SIMULATED}}}": "1x40"},
        at=300,
    ),
    absent("EtlProcessLogUnreadable", "is quiet where no log is followed"),
    fires(
        "EtlNoSuccess",
        "fires ten minutes after the last success",
        {f"etl_seconds_since_last_success{{{_SIMULATED}}}": "0+15x60"},
        of(
            "etl-metrics last succeeded 12m 30s ago; none of its replicas has since.",
            job="etl-metrics",
        ),
        at=750,
    ),
    over(
        "EtlNoSuccess",
        "is quiet about an extractor whose source was away, and which has not tried again yet",
        {"etl_seconds_since_last_success{job='extractor', instance='e:1'}": "5 _x47 720+15x4 5x40"},
        at=750,
    ),
    quiet(
        "EtlNoSuccess",
        "is quiet while one of two extractors succeeds",
        {
            "etl_seconds_since_last_success{job='extractor', instance='e:1'}": "0+15x60",
            "etl_seconds_since_last_success{job='extractor', instance='e:2'}": "5x60",
        },
        at=900,
    ),
    quiet(
        "EtlNoSuccess",
        "is quiet about a loader that has nothing to load",
        {f"etl_seconds_since_last_success{{{_LOADER}}}": "0+15x60"},
        at=900,
    ),
    absent("EtlNoSuccess", "is quiet where no process has metrics"),
    fires(
        "EtlHighFailureRate",
        "fires at twenty failures a minute",
        {f"etl_failures_total{{{_SIMULATED}}}": "0+5x40"},
        of("etl-metrics had 100 failures in the last 5m.", job="etl-metrics"),
        at=600,
    ),
    fires(
        "EtlHighFailureRate",
        "adds up the replicas of a stage",
        {
            "etl_failures_total{job='loader', instance='l:1'}": "0+1x40",
            "etl_failures_total{job='loader', instance='l:2'}": "0+1x40",
        },
        of("loader had 40 failures in the last 5m.", job="loader"),
        at=600,
    ),
    quiet(
        "EtlHighFailureRate",
        "is quiet at one failure a minute",
        {f"etl_failures_total{{{_SIMULATED}}}": "0+0.25x40"},
        at=600,
    ),
    over(
        "EtlHighFailureRate",
        "is quiet about failures that nobody scraped, and that are over when somebody does",
        {"etl_failures_total{job='extractor', instance='e:1'}": "0x20 _x12 60x40"},
        at=555,
    ),
    absent("EtlHighFailureRate", "is quiet where no process has metrics"),
    fires(
        "EtlLowThroughput",
        "fires when five minutes were slow on average, and two more",
        {f"etl_current_rate_records_per_second{{{_SIMULATED}}}": "10x20 1x40"},
        of(
            "etl-metrics handles no more than 1 records a second, in the mean of 5m and now.",
            job="etl-metrics",
            instance="m:1",
        ),
        at=840,
    ),
    quiet(
        "EtlLowThroughput",
        "is quiet when the rate swings about its usual value",
        {f"etl_current_rate_records_per_second{{{_SIMULATED}}}": _SWINGING},
        at=840,
    ),
    quiet(
        "EtlLowThroughput",
        "is quiet about a stage, whose throughput is what its source has",
        {f"etl_current_rate_records_per_second{{{_LOADER}}}": "0x60"},
        at=840,
    ),
    over(
        "EtlLowThroughput",
        "is quiet after an outage, although the mean of five minutes is low",
        {f"etl_current_rate_records_per_second{{{_SIMULATED}}}": "10x20 0x16 10x40"},
        at=660,
    ),
    absent("EtlLowThroughput", "is quiet where no process has metrics"),
    fires(
        "EtlExcessiveProcessingTime",
        "fires when files were slow on average for five minutes",
        {f"etl_avg_processing_time_seconds{{{_SIMULATED}}}": "3x8 16.5x60"},
        of(
            "etl-metrics (m:1) takes 16.5s for one in the mean.",
            job="etl-metrics",
            instance="m:1",
        ),
        at=600,
    ),
    quiet(
        "EtlExcessiveProcessingTime",
        "is quiet at one slow minute",
        {f"etl_avg_processing_time_seconds{{{_SIMULATED}}}": "3x8 16.5x4 3x40"},
        at=300,
    ),
    over(
        "EtlExcessiveProcessingTime",
        "is quiet after batches that took a minute each, although the mean of five minutes is high",
        {f"etl_avg_processing_time_seconds{{{_LOADER}}}": "3x20 60x4 3x40"},
        at=450,
    ),
    absent("EtlExcessiveProcessingTime", "is quiet where no process has metrics"),
)
