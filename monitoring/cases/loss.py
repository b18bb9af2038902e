"""Cases of the alerts on samples that did not arrive."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, quiet

_BOOKS = "job='etl-metrics', instance='m:1'"
_LETTERS = f"etl_dead_letters_kept{{{_BOOKS}}}"
_IMBALANCE = f"etl_ledger_imbalance_samples{{{_BOOKS}}}"
_GAPS = f"etl_gaps_declared{{{_BOOKS}, query='q', tier='hot'}}"

CASES = (
    fires(
        "EtlDeadLettersAppearing",
        "fires at the very first letter",
        {_LETTERS: "0x40 1x40"},
        of("1 dead letters more than 15m ago: `etlctl dead-letters list` tells why."),
        at=660,
    ),
    fires(
        "EtlDeadLettersAppearing",
        "fires when letters join older ones",
        {_LETTERS: "7x40 10x40"},
        of("3 dead letters more than 15m ago: `etlctl dead-letters list` tells why."),
        at=660,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet about letters that were there all the time",
        {_LETTERS: "7x80"},
        at=960,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet when letters are purged",
        {_LETTERS: "7x40 2x40"},
        at=660,
    ),
    quiet(
        "EtlDeadLettersAppearing",
        "is quiet when Redis is back after an outage, with the letters of before",
        {_LETTERS: "7x20 _x20 7x40"},
        at=720,
    ),
    absent("EtlDeadLettersAppearing", "is quiet where there is no pipeline"),
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
        "EtlLedgerOutOfBalance", "is quiet while the books balance", {_IMBALANCE: "0x40"}, at=300
    ),
    absent("EtlLedgerOutOfBalance", "is quiet where there is no pipeline"),
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
