"""Entries that come again, as there is no room for their dead letters, are counted once."""

from __future__ import annotations

from common.state.verdict import Pause, Settle
from tests.doubles.loading import NOW_MS, Bench, entry, lines

CONFLICT = [b"typed,n=%d value=1.5 %d" % (n, NOW_MS) for n in range(100)]


def test_held_entries_do_not_pause_the_others() -> None:
    bench = Bench(max_rejected_share=0.5, rejected_share_min_samples=1000)
    bench.handle(entry("0", [b"typed value=1i %d" % NOW_MS]))
    bench.handle(entry("good", lines(1000)))
    held = entry("held", CONFLICT)

    for number in range(30):
        (verdict,) = bench.handle(held)
        assert isinstance(verdict, Settle), number
        bench.clock.pass_(15)

    share = bench.metric("etl_sink_rejected_share")
    assert share < 0.5
    assert not any(isinstance(one, Pause) for one in bench.handle(entry("more", lines(10))))
