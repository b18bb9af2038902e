"""Cases of the alerts on Prometheus' clock and address."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_CLOCK = "etl_source_clock_difference_seconds{job='extractor', instance='e:%d', clock='%s'}"
_SERVERS = "etl_source_servers{job='extractor', instance='e:%d'}"
_MISSING = "etl_settle_missing_seconds{job='extractor', instance='e:1', query='%s', tier='hot'}"
_WORDS = "Prometheus' clock differs by {} from another ({}): what has settled is told by it."

CASES = (
    fires(
        "EtlClocksDiffer",
        "fires at once when Prometheus' clock is ahead of ours",
        {_CLOCK % (1, "own"): "0x8 40x4 0x20", _CLOCK % (1, "redis"): "0x40"},
        of(_WORDS.format("40s", "own"), clock="own"),
        at=150,
    ),
    fires(
        "EtlClocksDiffer",
        "fires when it is behind Redis' in the eyes of one extractor",
        {_CLOCK % (1, "redis"): "0x40", _CLOCK % (2, "redis"): "-3600x40"},
        of(_WORDS.format("1h 0m 0s", "redis"), clock="redis"),
        at=150,
    ),
    quiet(
        "EtlClocksDiffer",
        "is quiet about differences that NTP leaves",
        {_CLOCK % (1, "own"): "-1.5x40", _CLOCK % (1, "date"): "2x40"},
        at=150,
    ),
    quiet(
        "EtlClocksDiffer",
        "is quiet once the clocks agree again",
        {_CLOCK % (1, "own"): "60x8 0x40"},
        at=240,
    ),
    absent("EtlClocksDiffer", "is quiet where there is no extractor"),
    fires(
        "EtlSourceAlternates",
        "fires when one extractor sees two servers",
        {_SERVERS % 1: "1x40", _SERVERS % 2: "1x8 2x20"},
        of(
            "2 servers answer in turn at Prometheus' address: samples that only one of them holds"
            " may be missed."
        ),
        at=150,
    ),
    quiet("EtlSourceAlternates", "is quiet about one server", {_SERVERS % 1: "1x40"}, at=150),
    absent("EtlSourceAlternates", "is quiet where there is no extractor"),
    fires(
        "EtlSettleTooShort",
        "fires for the query whose samples need longer",
        {_MISSING % "q": "46x40", _MISSING % "other": "0x40"},
        of(
            "The settle_seconds of q (hot) is 46s shorter than Prometheus' scrape interval and"
            " time-out, or its evaluation interval, need.",
            query="q",
            tier="hot",
        ),
        at=240,
    ),
    quiet(
        "EtlSettleTooShort", "is quiet where nothing is missing", {_MISSING % "q": "0x40"}, at=240
    ),
    absent("EtlSettleTooShort", "is quiet where the source reports no interval"),
)
