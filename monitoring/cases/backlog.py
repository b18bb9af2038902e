"""Cases of the alerts on work that piles up."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, over, quiet

_REDIS = "job='etl-metrics', instance='m:1'"
_BACKLOG = f"etl_backlog_seconds{{{_REDIS}, query='q', tier='hot'}}"
_PAUSED = (
    "Too many bytes are in flight: transformer, loader or sink are slower than the source. Nothing"
    " is lost; the backlog grows."
)

CASES = (
    fires(
        "EtlBacklogGrowing",
        "fires when nothing is worked off for long",
        {_BACKLOG: "0+15x120"},
        of(
            "The backlog of q (hot) is longer than 10m and grows by 1 seconds a second (1 = nothing"
            " is worked off).",
            query="q",
            tier="hot",
        ),
        at=1800,
    ),
    quiet(
        "EtlBacklogGrowing",
        "is quiet about a long backlog that is being worked off",
        {_BACKLOG: "86400-60x120"},
        at=1800,
    ),
    quiet(
        "EtlBacklogGrowing",
        "is quiet about a short backlog",
        {_BACKLOG: "0+4x120"},
        at=1800,
    ),
    quiet(
        "EtlBacklogGrowing",
        "is quiet about the window of an hour that a rollup is given at once",
        {_BACKLOG.replace("hot", "cold"): "0x117 3600x3 0x237 3600x3"},
        at=1830,
    ),
    over(
        "EtlBacklogGrowing",
        "is quiet after an outage, while what has piled up is worked off",
        {_BACKLOG: "0x4 0+15x52 780-2x40"},
        at=1080,
    ),
    absent("EtlBacklogGrowing", "is quiet where there is no query"),
    fires(
        "EtlOldestEntryTooOld",
        "fires when an entry is older than five minutes for two",
        {
            f"etl_stream_oldest_entry_age_seconds{{{_REDIS}, stream='points'}}": "0+15x60",
            f"etl_stream_oldest_entry_age_seconds{{{_REDIS}, stream='raw'}}": "1x60",
        },
        of("The oldest entry of the stream points is 10m 0s old.", stream="points"),
        at=600,
    ),
    quiet(
        "EtlOldestEntryTooOld",
        "is quiet while entries pass through",
        {f"etl_stream_oldest_entry_age_seconds{{{_REDIS}, stream='points'}}": "2x60"},
        at=600,
    ),
    absent("EtlOldestEntryTooOld", "is quiet where there is no pipeline"),
    fires(
        "EtlBackPressureLasting",
        "fires when extraction was paused for a quarter of an hour",
        {f"etl_backpressure_active{{{_REDIS}}}": "0x4 1x80"},
        of(_PAUSED),
        at=1200,
    ),
    quiet(
        "EtlBackPressureLasting",
        "is quiet when extraction pauses for some minutes at a time",
        {f"etl_backpressure_active{{{_REDIS}}}": "1x20 0x8 1x20 0x8 1x20"},
        at=1200,
    ),
    absent("EtlBackPressureLasting", "is quiet where there is no pipeline"),
)
