"""Cases of the alerts on the proof that the sink holds what the source holds."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, over, quiet

_FEED = "job='verifier', instance='v:%d', query='up', tier='hot'"
_DIFFERING = f"etl_verify_differing_points{{{_FEED}}}"
_WAITING = f"etl_verify_waiting_seconds{{{_FEED}}}"

_REPAIRS = f"etl_verify_repairs_total{{{_FEED % 1}}}"

CASES = (
    fires(
        "EtlVerifyRepairs",
        "fires at the second range",
        {_REPAIRS: "0x10 1x20 2x20", "up{job='verifier', instance='v:1'}": "1x60"},
        of(
            "2 ranges of up (hot) were extracted again in the last 6h, because points of them were"
            " missing in the sink or differed there.",
            query="up",
            tier="hot",
        ),
        at=2400,
        every=60,
    ),
    quiet(
        "EtlVerifyRepairs",
        "is quiet about a single one",
        {_REPAIRS: "0x10 1x30", "up{job='verifier', instance='v:1'}": "1x60"},
        at=2400,
        every=60,
    ),
    absent("EtlVerifyRepairs", "is quiet where there is no verifier"),
    fires(
        "EtlVerifyDiffers",
        "fires at once when points differ, although two replicas report it",
        {_DIFFERING % 1: "0x8 240x20", _DIFFERING % 2: "0x8 240x20"},
        of(
            "240 points of up (hot) are missing in the sink, differ there, or should not be there;"
            " nothing explains it.",
            query="up",
            tier="hot",
        ),
        at=150,
    ),
    fires(
        "EtlVerifyDiffers",
        "fires on while a scrape or two fail",
        {_DIFFERING % 1: "3x8 _x2 3x8"},
        of(
            "3 points of up (hot) are missing in the sink, differ there, or should not be there;"
            " nothing explains it.",
            query="up",
            tier="hot",
        ),
        at=150,
    ),
    quiet("EtlVerifyDiffers", "is quiet once all is equal", {_DIFFERING % 1: "3x8 0x20"}, at=180),
    absent("EtlVerifyDiffers", "is quiet where there is no verifier"),
    fires(
        "EtlVerifyBehind",
        "fires when what waits is more than six hours and does not get less",
        {_WAITING % 1: "20000+60x300"},
        of(
            "9h 13m 20s of up (hot) wait to be compared with the source, and in 2h that did not"
            " get less.",
            query="up",
            tier="hot",
        ),
        at=13_200,
        every=60,
    ),
    quiet(
        "EtlVerifyBehind",
        "is quiet about a backlog that is worked off",
        {_WAITING % 1: "1000000-60x300"},
        at=13_200,
        every=60,
    ),
    quiet(
        "EtlVerifyBehind",
        "is quiet about what waits for its turn",
        {_WAITING % 1: "0+15x20 0+15x20 0+15x300"},
        at=13_200,
    ),
    over(
        "EtlVerifyBehind",
        "is quiet when it catches up soon after six hours waited",
        {_WAITING % 1: "14400+60x124 21600-900x20 0x60"},
        at=7740,
        every=60,
    ),
    absent("EtlVerifyBehind", "is quiet where there is no verifier"),
)
