"""Cases of the alerts on Redis."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_REDIS = "job='etl-metrics', instance='m:1'"
_USED = f"etl_redis_memory_used_bytes{{{_REDIS}}}"
_MAX = f"etl_redis_memory_max_bytes{{{_REDIS}}}"
_MAY_EVICT = f"etl_redis_may_evict{{{_REDIS}}}"
_EVICTED = f"etl_redis_evicted_keys_total{{{_REDIS}}}"
_FOREIGN = "etl_jobs_refused_total{job='extractor', instance='e:1'}"
_FOREIGN_WORDS = (
    "{} jobs in the extractor's queues in the last 1h were not its own. They were refused and"
    " removed; none ran."
)

CASES = (
    fires(
        "EtlRedisUnreachable",
        "fires a minute after Redis stopped responding",
        {f"etl_redis_up{{{_REDIS}}}": "1x8 0x20"},
        of(
            "etl-metrics cannot read Redis: either nothing moves, or it moves unseen. Every other"
            " alert on streams, windows and ledger is blind meanwhile."
        ),
        at=240,
    ),
    quiet(
        "EtlRedisUnreachable",
        "is quiet at one failed attempt",
        {f"etl_redis_up{{{_REDIS}}}": "1x8 0 1x20"},
        at=240,
    ),
    absent("EtlRedisUnreachable", "is quiet where etl-metrics has no Redis"),
    fires(
        "EtlRedisFileFailing",
        "fires a minute after the disk was full",
        {
            f"etl_redis_aof_ok{{{_REDIS}, operation='write'}}": "1x8 0x20",
            f"etl_redis_aof_ok{{{_REDIS}, operation='rewrite'}}": "1x40",
        },
        of(
            "The last write of Redis' append-only file failed (disk full?). Without the file, what"
            " is in flight is gone with the next restart.",
            operation="write",
        ),
        at=240,
    ),
    quiet(
        "EtlRedisFileFailing",
        "is quiet about a moment",
        {f"etl_redis_aof_ok{{{_REDIS}, operation='write'}}": "1x8 0 1x20"},
        at=240,
    ),
    absent("EtlRedisFileFailing", "is quiet where there is no such file"),
    fires(
        "EtlRedisMayEvict",
        "fires a minute after the policy was changed",
        {_MAY_EVICT: "0x8 1x20"},
        of(
            "Redis' maxmemory-policy is not noeviction: when its memory is full, it throws keys"
            " away instead of refusing to write."
        ),
        at=240,
    ),
    quiet("EtlRedisMayEvict", "is quiet under noeviction", {_MAY_EVICT: "0x40"}, at=240),
    absent("EtlRedisMayEvict", "is quiet where there is no pipeline"),
    fires(
        "EtlRedisEvicted",
        "fires at the first key",
        {_EVICTED: "0x300 1x20"},
        of("Redis threw 1 keys away in the last 1h: data of the pipeline may be among them."),
        at=4560,
    ),
    quiet(
        "EtlRedisEvicted",
        "is quiet about keys that were thrown away long ago, and about a restart of Redis",
        {_EVICTED: "7x200 0x300"},
        at=7200,
    ),
    absent("EtlRedisEvicted", "is quiet where there is no pipeline"),
    fires(
        "EtlForeignJobs",
        "fires at the first job",
        {_FOREIGN: "0x300 1x20", "up{job='extractor', instance='e:1'}": "1x320"},
        of(_FOREIGN_WORDS.format("1")),
        at=4560,
    ),
    fires(
        "EtlForeignJobs",
        "fires when an extractor finds jobs at its start",
        {
            "up{job='extractor', instance='e:1'}": "_x8 1x40",
            "etl_uptime_seconds{job='extractor', instance='e:1'}": "_x8 0+15x40",
            _FOREIGN: "_x8 4x40",
        },
        of(_FOREIGN_WORDS.format("4")),
        at=300,
    ),
    quiet(
        "EtlForeignJobs",
        "is quiet an hour after the last one",
        {
            "etl_uptime_seconds{job='extractor', instance='e:1'}": "9000+15x600",
            _FOREIGN: "0x10 3x600",
        },
        at=4500,
    ),
    absent("EtlForeignJobs", "is quiet where there is no extractor"),
    fires(
        "EtlRedisMemoryHigh",
        "fires when four fifths are used for two minutes",
        {_USED: "100x8 450x20", _MAX: "500x40"},
        of(
            "Redis uses 90% of its maxmemory. When it is full, extraction stands still; nothing is"
            " evicted."
        ),
        at=300,
    ),
    quiet("EtlRedisMemoryHigh", "is quiet below that", {_USED: "350x40", _MAX: "500x40"}, at=300),
    quiet(
        "EtlRedisMemoryHigh",
        "is quiet about a Redis without a limit",
        {_USED: "350000000000x40"},
        at=300,
    ),
    absent("EtlRedisMemoryHigh", "is quiet where there is no pipeline"),
)
