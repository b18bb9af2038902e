"""Cases of the alerts on the stages."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, over, quiet

_UP = {
    "up{job='extractor', instance='e:1'}": "1x200",
    "up{job='transformer', instance='t:1'}": "1x200",
    "up{job='loader', instance='l:1'}": "1x200",
}
_DOWN = (
    "No {} responds: nothing passes that stage. Its backlog waits in Redis or in Prometheus'"
    " history, and is worked off once it is back."
)
_REDIS = "job='etl-metrics', instance='m:1'"
_ABANDONED = "etl_rechecks_abandoned_total{job='extractor', instance='e:1', query='q', tier='hot'}"
_DELETED = "etl_deleted_pending_entries_total{job='loader', instance='l:1', stage='loader'}"
_DELETED_WORDS = (
    "loader found {} entries deleted that were pending. Somebody else changes the pipeline's keys"
    " in Redis."
)
_READ = "etl_config_last_reload_successful{{job='{}', instance='{}'}}"
_REFUSED_WORDS = (
    "loader refuses etl.yaml as it is now, and goes on with what it read before. A start of it with"
    " this file may fail."
)

CASES = (
    fires(
        "EtlStageDown",
        "fires a minute after the last replica stopped responding",
        _UP | {"up{job='loader', instance='l:1'}": "1x8 0x40"},
        of(_DOWN.format("loader"), job="loader"),
        at=240,
    ),
    fires(
        "EtlStageDown",
        "fires when the last replica left the service discovery",
        _UP | {"up{job='transformer', instance='t:1'}": "1x8 stale"},
        of(_DOWN.format("transformer"), job="transformer"),
        at=240,
    ),
    fires(
        "EtlStageDown",
        "fires for a stage that was never started beside others",
        {name: values for name, values in _UP.items() if "loader" not in name},
        of(_DOWN.format("loader"), job="loader"),
        at=240,
    ),
    fires(
        "EtlStageDown",
        "fires for every stage where etl-metrics has a Redis and no stage was ever there",
        {f"etl_redis_up{{{_REDIS}}}": "1x40"},
        *(of(_DOWN.format(job), job=job) for job in ("extractor", "transformer", "loader")),
        at=240,
    ),
    quiet(
        "EtlStageDown",
        "is quiet while one of two replicas responds",
        _UP | {"up{job='loader', instance='l:2'}": "0x40"},
        at=240,
    ),
    absent("EtlStageDown", "is quiet in the monitoring stack without a pipeline"),
    fires(
        "EtlStageStalled",
        "fires when entries wait and the loader settles none",
        {
            f"etl_stream_entries{{{_REDIS}, stream='points'}}": "4+1x60",
            f"etl_stream_entries{{{_REDIS}, stream='raw'}}": "2x60",
            "etl_files_total{job='loader', instance='l:1'}": "7x60",
            "etl_files_total{job='transformer', instance='t:1'}": "0+1x60",
        },
        of("loader has had work for 5m or longer, and has finished none of it.", job="loader"),
        at=600,
    ),
    fires(
        "EtlStageStalled",
        "fires when the extractor commits nothing without back-pressure",
        {
            f"etl_backpressure_active{{{_REDIS}}}": "0x60",
            "etl_files_total{job='extractor', instance='e:1'}": "7x60",
        },
        of(
            "extractor has had work for 5m or longer, and has finished none of it.", job="extractor"
        ),
        at=600,
    ),
    quiet(
        "EtlStageStalled",
        "is quiet while back-pressure pauses the extractor",
        {
            f"etl_backpressure_active{{{_REDIS}}}": "1x60",
            "etl_files_total{job='extractor', instance='e:1'}": "7x60",
        },
        at=600,
    ),
    quiet(
        "EtlStageStalled",
        "is quiet about a stage whose stream is empty",
        {
            f"etl_stream_entries{{{_REDIS}, stream='points'}}": "0x60",
            "etl_files_total{job='loader', instance='l:1'}": "7x60",
        },
        at=600,
    ),
    quiet(
        "EtlStageStalled",
        "is quiet while one of two replicas gets on",
        {
            f"etl_stream_entries{{{_REDIS}, stream='points'}}": "4+1x60",
            "etl_files_total{job='loader', instance='l:1'}": "7x60",
            "etl_files_total{job='loader', instance='l:2'}": "0+1x60",
        },
        at=600,
    ),
    over(
        "EtlStageStalled",
        "is quiet when the first batch is finished, although entries wait still",
        {
            f"etl_stream_entries{{{_REDIS}, stream='points'}}": "4+1x60",
            "etl_files_total{job='loader', instance='l:1'}": "7x26 8x40",
        },
        at=420,
    ),
    absent("EtlStageStalled", "is quiet where there is no pipeline"),
    fires(
        "EtlWindowFailing",
        "fires when a query fails again and again",
        {
            f"etl_query_failures_in_a_row{{{_REDIS}, query='q', tier='hot'}}": "0+1x40",
            f"etl_query_failures_in_a_row{{{_REDIS}, query='other', tier='hot'}}": "0x40",
        },
        of(
            "q (hot) failed 20 times in a row, or what is deferred of it did; it is tried again.",
            query="q",
            tier="hot",
        ),
        at=300,
    ),
    quiet(
        "EtlWindowFailing",
        "is quiet when a query fails now and then",
        {f"etl_query_failures_in_a_row{{{_REDIS}, query='q', tier='hot'}}": "0 1 2 0 0 1 0x40"},
        at=240,
    ),
    over(
        "EtlWindowFailing",
        "is quiet when the source was away and the next attempt succeeds",
        {f"etl_query_failures_in_a_row{{{_REDIS}, query='q', tier='hot'}}": "0x4 _x20 25x5 0x40"},
        at=450,
    ),
    absent("EtlWindowFailing", "is quiet where there is no query"),
    fires(
        "EtlRecheckAbandoned",
        "fires at the first range, with which the series begins",
        _UP | {_ABANDONED: "_x240 1x20"},
        of(
            "1 committed ranges of q (hot) could not be compared with Prometheus again, or differ"
            " each time: late samples of them may be missing.",
            query="q",
            tier="hot",
        ),
        at=3660,
        every=15,
    ),
    quiet(
        "EtlRecheckAbandoned",
        "is quiet an hour after the last one",
        _UP
        | {
            "etl_uptime_seconds{job='extractor', instance='e:1'}": "9000+15x600",
            _ABANDONED: "0x10 3x600",
        },
        at=4500,
    ),
    absent("EtlRecheckAbandoned", "is quiet where none was ever given up"),
    fires(
        "EtlPendingEntriesDeleted",
        "fires at the first entry, with which the series begins",
        _UP | {_DELETED: "_x240 1x20"},
        of(_DELETED_WORDS.format(1), stage="loader"),
        at=3660,
        every=15,
    ),
    fires(
        "EtlPendingEntriesDeleted",
        "fires when a process finds one soon after its start",
        {
            "up{job='loader', instance='l:1'}": "_x8 1x40",
            "etl_uptime_seconds{job='loader', instance='l:1'}": "_x8 0+15x40",
            _DELETED: "_x8 2x40",
        },
        of(_DELETED_WORDS.format(2), stage="loader"),
        at=300,
    ),
    fires(
        "EtlPendingEntriesDeleted",
        "fires when the count rises",
        _UP
        | {
            "etl_uptime_seconds{job='loader', instance='l:1'}": "9000+15x400",
            _DELETED: "3+1x400",
        },
        of(_DELETED_WORDS.format(240), stage="loader"),
        at=4500,
    ),
    quiet(
        "EtlPendingEntriesDeleted",
        "is quiet about old ones when Prometheus was away and comes back",
        {
            "up{job='loader', instance='l:1'}": "_x8 1x40",
            "etl_uptime_seconds{job='loader', instance='l:1'}": "_x8 90000+15x40",
            _DELETED: "_x8 3x40",
        },
        at=300,
    ),
    absent("EtlPendingEntriesDeleted", "is quiet where none was ever found"),
    fires(
        "EtlConfigRefused",
        "fires while one of two replicas refuses the file",
        {
            _READ.format("loader", "l:1"): "1x200",
            _READ.format("loader", "l:2"): "1x8 0x40",
            _READ.format("verifier", "v:1"): "1x200",
        },
        of(_REFUSED_WORDS, job="loader"),
        at=300,
    ),
    quiet(
        "EtlConfigRefused",
        "is quiet when the file was mended",
        {_READ.format("loader", "l:1"): "1x4 0x2 1x40"},
        at=300,
    ),
    absent("EtlConfigRefused", "is quiet where nothing reads a configuration"),
)
