"""Cases of the alerts on Redis."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_REDIS = "job='etl-metrics', instance='m:1'"
_USED = f"etl_redis_memory_used_bytes{{{_REDIS}}}"
_MAX = f"etl_redis_memory_max_bytes{{{_REDIS}}}"

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
