"""Cases of the alerts on Prometheus as the extractor finds it."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_CLOCK = "etl_source_clock_difference_seconds{job='extractor', instance='e:%d', clock='%s'}"
_SERVERS = "etl_source_servers{job='extractor', instance='e:%d'}"
_LACKS = "etl_replica_lacks_ratio{job='extractor', instance='e:1', source='', replica='%s'}"
_MISSING = "etl_settle_missing_seconds{job='extractor', instance='e:1', query='%s', tier='hot'}"
_EMPTY = "etl_query_empty_seconds{job='etl-metrics', instance='m:1', query='%s', tier='hot'}"
_HISTOGRAMS = (
    "etl_dropped_samples_total{job='extractor', instance='e:1', reason='native_histogram'}"
)
_UP = "up{job='extractor', instance='e:1'}"
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
        "EtlReplicaLacking",
        "fires when one of a pair has not answered for a quarter of an hour",
        {_LACKS % "a:9090": "0x100", _LACKS % "b:9090": "0x8 1x100"},
        of(
            "b:9090 lacks 100% of the newest samples that another replica has (all of them: it"
            " does not answer). What is scraped now has no second copy.",
            replica="b:9090",
        ),
        at=1200,
    ),
    quiet(
        "EtlReplicaLacking",
        "is quiet about a restart, and scrapes that fall into windows differently",
        {_LACKS % "a:9090": "0x8 1x20 0.05x80", _LACKS % "b:9090": "0.02x100"},
        at=1200,
    ),
    absent("EtlReplicaLacking", "is quiet where there are no replicas"),
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
    fires(
        "EtlQueryEmpty",
        "fires for the query that matches nothing",
        {_EMPTY % "q": "3590+10x40", _EMPTY % "other": "0x40"},
        of(
            "q (hot) has matched no series for 1h 5m 20s: nothing of it is extracted.",
            query="q",
            tier="hot",
        ),
        at=495,
    ),
    quiet(
        "EtlQueryEmpty",
        "is quiet about a query that was changed and matches again",
        {_EMPTY % "q": "7200x10 0x30"},
        at=495,
    ),
    absent("EtlQueryEmpty", "is quiet where there is no query"),
    fires(
        "EtlNativeHistogramsDropped",
        "fires at the first of them, with which the series begins",
        {_HISTOGRAMS: "_x240 80x20", _UP: "1x300"},
        of(
            "80 native histogram samples of the last 1h were dropped, as a point has one float:"
            " `etlctl status` shows of which queries."
        ),
        at=3660,
    ),
    quiet(
        "EtlNativeHistogramsDropped",
        "is quiet about those of the past",
        {_HISTOGRAMS: "80x300", _UP: "1x300"},
        at=4500,
    ),
    quiet(
        "EtlNativeHistogramsDropped",
        "is quiet about samples that are dropped for another reason",
        {_HISTOGRAMS.replace("native_histogram", "nan"): "0+9x300", _UP: "1x300"},
        at=3660,
    ),
    absent("EtlNativeHistogramsDropped", "is quiet where there is no extractor"),
)
