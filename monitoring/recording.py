"""Recording rules: what alerts and dashboards would otherwise compute again and again."""

from __future__ import annotations

from monitoring.model import Recording
from monitoring.promql import duration, highest, latest
from monitoring.thresholds import FRESH_FEEDS, REDIS, Thresholds

FEED_FRESHNESS = "query_tier:etl_freshness_seconds:max"
FRESHNESS = "etl:freshness_seconds:max"
STALE = "etl:freshness_stale:bool"
FAST_BURN = "etl:freshness_burn:fast"
SLOW_BURN = "etl:freshness_burn:slow"


def freshness_recordings(t: Thresholds) -> tuple[Recording, ...]:
    """What is read from Redis, made easy to show."""
    return (
        Recording(
            FEED_FRESHNESS,
            "time() - max by (query, tier) (\n  "
            + latest(f"etl_loaded_watermark_timestamp_seconds{{{REDIS}}}", t.bridge_seconds)
            + "\n)",
            "Age of the newest time up to which all is loaded, by feed",
        ),
    )


_BURN_HELP = "How fast the budget burns in both windows, as a share of what this pair allows"


def slo_recordings(t: Thresholds) -> tuple[Recording, ...]:
    """From freshness to the rate at which its budget burns."""
    # A minute in which Redis could not be read at all: what is loaded is not known.
    unread = f"1 - max({highest(f'etl_redis_up{{{REDIS}}}', t.bridge_seconds)})"
    loaded = latest(f"etl_loaded_watermark_timestamp_seconds{{{FRESH_FEEDS}}}", t.bridge_seconds)
    pairs = (
        (t.fast_burn, t.fast_long_seconds, t.fast_short_seconds),
        (t.fast_burn_slower, t.fast_slower_long_seconds, t.fast_slower_short_seconds),
        (t.slow_burn, t.slow_long_seconds, t.slow_short_seconds),
        (t.slow_burn_slower, t.slow_slower_long_seconds, t.slow_slower_short_seconds),
    )
    windows = {window for _, long, short in pairs for window in (long, short)}
    return (
        Recording(
            FRESHNESS,
            f"max(time() - {loaded})",
            "Age of what is loaded, of the hot feed furthest behind",
        ),
        Recording(
            STALE,
            f"({FRESHNESS} > bool {t.freshness_seconds:g})\nor on () ({unread})",
            "1 in a minute in which loaded data is older than it may be or Redis cannot be read,"
            " else 0",
        ),
        *(
            Recording(
                stale_ratio(window),
                f"sum_over_time({STALE}[{duration(window)}])"
                f" / {window / t.slo_evaluation_seconds:g}",
                "Share of stale minutes; a minute without etl-metrics counts as fresh",
            )
            for window in sorted(windows)
        ),
        *(
            Recording(burn(long), _lesser(t, rate, long, short), _BURN_HELP)
            for rate, long, short in pairs
        ),
        Recording(
            FAST_BURN,
            _greater(burn(pairs[0][1]), burn(pairs[1][1])),
            "Above 1 while the budget burns so fast that it needs action at once",
        ),
        Recording(
            SLOW_BURN,
            _greater(burn(pairs[2][1]), burn(pairs[3][1])),
            "Above 1 while the budget burns faster than a month's objective allows",
        ),
    )


def stale_ratio(window_seconds: float) -> str:
    """Name of the share of stale minutes over a window."""
    return f"etl:freshness_stale:ratio_{duration(window_seconds)}"


def burn(long_seconds: float) -> str:
    """Name of the burn of the pair whose long window this is."""
    return f"etl:freshness_burn:ratio_{duration(long_seconds)}"


# Both have a value whatever the two series are; `a > limit and b > limit` has none while all is
# well. Neither series has labels.


def _lesser(t: Thresholds, rate: float, long_seconds: float, short_seconds: float) -> str:
    long, short = stale_ratio(long_seconds), stale_ratio(short_seconds)
    budget = 1 - t.freshness_objective
    return f"(({long} < {short}) or {short}) / {rate * budget:.6g}"


def _greater(first: str, second: str) -> str:
    return f"({first} > {second}) or {second}"
