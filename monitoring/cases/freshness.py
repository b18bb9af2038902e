"""Cases of the freshness objective, and of the alert that is always on."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_HOT = "job='etl-metrics', instance='m:1', tier='hot'"
_Q = f"etl_loaded_watermark_timestamp_seconds{{{_HOT}, query='q'}}"
_OTHER = f"etl_loaded_watermark_timestamp_seconds{{{_HOT}, query='other'}}"
_COLD = (
    "etl_loaded_watermark_timestamp_seconds"
    "{job='etl-metrics', instance='m:1', tier='cold', query='q'}"
)
_REDIS_UP = "etl_redis_up{job='etl-metrics', instance='m:1'}"
# A minute's sample of a watermark that follows the clock, which begins at 0 in these tests.
_FRESH = "-60+60x10000"
_FAST = (
    "The sink is behind for longer than the objective allows (0.99 of all minutes): {} times the"
    " rate that needs action at once."
)
_SLOW = (
    "The sink is behind more often than the objective allows (0.99 of all minutes): {} times the"
    " rate that would use up the budget."
)
# Minutes 60 to 120 of nothing loaded, then all at once.
_HOUR_LATE = "-60+60x60 3540x59 7140+60x300"
# Fresh, and standing still for 6 of every 60 minutes.
_OFTEN_LATE = " ".join(f"{3600 * hour - 60}+60x50 {3600 * hour + 2940}x8" for hour in range(40))

CASES = (
    fires(
        "EtlFreshnessBudgetBurningFast",
        "fires within a quarter of an hour after one feed stopped, whatever the others do",
        {_Q: _HOUR_LATE, _OTHER: _FRESH},
        of(_FAST.format("1.273")),
        at=73 * 60,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningFast",
        "is quiet in the first minutes of an outage",
        {_Q: _HOUR_LATE},
        at=66 * 60,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningFast",
        "is quiet soon after the outage is over",
        {_Q: _HOUR_LATE},
        at=155 * 60,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningFast",
        "is quiet about rollups, which are late by nature",
        {_Q: _FRESH, _COLD: "0x10000"},
        at=120 * 60,
        every=60,
    ),
    fires(
        "EtlFreshnessBudgetBurningFast",
        "fires when Redis cannot be read for long, so that nobody knows what is loaded",
        {_Q: "-60+60x60 _x40", _REDIS_UP: "1x60 0x40"},
        of(_FAST.format("1.273")),
        at=72 * 60,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningFast",
        "is quiet about a read of Redis that failed now and then",
        {_Q: "-60+60x30 _ 1860+60x20 _ 3120+60x60", _REDIS_UP: "1x30 0 1x20 0 1x60"},
        at=80 * 60,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningFast",
        "is quiet where Redis can be read and nothing was loaded yet",
        {_REDIS_UP: "1x200"},
        at=120 * 60,
        every=60,
    ),
    absent("EtlFreshnessBudgetBurningFast", "is quiet where nothing was ever loaded"),
    fires(
        "EtlFreshnessBudgetBurningSlowly",
        "fires when a few minutes of every hour are stale",
        {_Q: _OFTEN_LATE},
        of(_SLOW.format("4.861")),
        at=30 * 3600,
        every=60,
    ),
    quiet(
        "EtlFreshnessBudgetBurningSlowly",
        "is quiet while everything is fresh",
        {_Q: _FRESH},
        at=30 * 3600,
        every=60,
    ),
    absent("EtlFreshnessBudgetBurningSlowly", "is quiet where nothing was ever loaded"),
)

WATCHDOG_CASES = (
    fires(
        "EtlWatchdog",
        "fires from the first evaluation on",
        {"up{job='etl-metrics', instance='m:1'}": "1x40"},
        of("If a receiver no longer hears of this alert, the way to it is broken."),
        at=15,
    ),
    absent(
        "EtlWatchdog",
        "fires whatever is missing",
        of("If a receiver no longer hears of this alert, the way to it is broken."),
    ),
)
