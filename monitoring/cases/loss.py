"""Cases of the alerts on samples that did not arrive."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_REDIS = "job='etl-metrics', instance='m:1'"
_DEAD_LETTERS = f"etl_dead_letters_kept{{{_REDIS}}}"
_DEAD_LETTERS_MAX = "etl_dead_letters_max{job='loader', instance='l:1'}"
_IMBALANCE = f"etl_ledger_imbalance_samples{{{_REDIS}}}"
_LOST = "etl_dropped_samples_total{job='loader', instance='l:1', reason='payload_lost'}"
_GAPS = f"etl_gaps_declared{{{_REDIS}, query='q', tier='hot'}}"

CASES = (
    fires(
        "EtlDeadLettersAppearing",
        "fires at the very first dead letter",
        {_DEAD_LETTERS: "0x40 1x40"},
        of("1 dead letters more than 15m ago: `etlctl dead-letters list` shows why."),
        at=660,
    ),
    fires(
        "EtlDeadLettersAppearing",
        "fires when dead letters join older ones",
        {_DEAD_LETTERS: "7x40 10x40"},
        of("3 dead letters more than 15m ago: `etlctl dead-letters list` shows why."),
        at=660,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet about dead letters that were there all the time",
        {_DEAD_LETTERS: "7x80"},
        at=960,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet when dead letters are purged",
        {_DEAD_LETTERS: "7x40 2x40"},
        at=660,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet when Redis is back after an outage, with the same dead letters",
        {_DEAD_LETTERS: "7x20 _x20 7x40"},
        at=720,
    ),
    absent("EtlDeadLettersAppearing", "is quiet where there is no pipeline"),
    fires(
        "EtlDeadLettersNearCap",
        "fires at more than half of the cap",
        {_DEAD_LETTERS: "10x40 51x40", _DEAD_LETTERS_MAX: "100x80"},
        of(
            "51% of the dead letters that may be kept are there. At the cap, entries with samples"
            " that would join them wait."
        ),
        at=660,
    ),
    quiet(
        "EtlDeadLettersNearCap",
        "is quiet at half of the cap",
        {_DEAD_LETTERS: "50x80", _DEAD_LETTERS_MAX: "100x80"},
        at=660,
    ),
    absent("EtlDeadLettersNearCap", "is quiet where there is no pipeline"),
    fires(
        "EtlLedgerOutOfBalance",
        "fires at once",
        {_IMBALANCE: "0x8 12x20"},
        of(
            "12 samples are neither loaded, dropped, dead letters nor in flight, or came from"
            " nowhere: loss or a defect."
        ),
        at=150,
    ),
    fires(
        "EtlLedgerOutOfBalance",
        "fires although the next scrape fails",
        {_IMBALANCE: "0x8 12 stale"},
        of(
            "12 samples are neither loaded, dropped, dead letters nor in flight, or came from"
            " nowhere: loss or a defect."
        ),
        at=165,
    ),
    quiet(
        "EtlLedgerOutOfBalance", "is quiet while the ledger balances", {_IMBALANCE: "0x40"}, at=300
    ),
    absent("EtlLedgerOutOfBalance", "is quiet where there is no pipeline"),
    fires(
        "EtlPayloadsLost",
        "fires at the first entry, with which the series begins",
        {_LOST: "_x240 80x20", "up{job='loader', instance='l:1'}": "1x300"},
        of(
            "80 samples of the last 1h were in entries whose payload Redis no longer had."
            " Prometheus is asked for them again."
        ),
        at=3660,
    ),
    quiet(
        "EtlPayloadsLost",
        "is quiet about samples that are dropped for another reason",
        {
            "etl_dropped_samples_total{job='transformer', instance='t:1', reason='nan'}": "0+9x300",
            "up{job='transformer', instance='t:1'}": "1x300",
        },
        at=3660,
    ),
    absent("EtlPayloadsLost", "is quiet where there is no pipeline"),
    fires(
        "EtlExtractionGap",
        "fires when a gap is declared",
        {_GAPS: "2x40 3x40"},
        of(
            "q (hot) has 1 gaps more than before: `etlctl status` shows their bounds.",
            query="q",
            tier="hot",
        ),
        at=660,
    ),
    quiet("EtlExtractionGap", "is quiet about old gaps", {_GAPS: "2x300"}, at=4500),
    absent("EtlExtractionGap", "is quiet where there is no query"),
)
