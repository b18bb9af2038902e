"""A transformer whose clock is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.samples.series import SeriesEncoder
from common.state.verdict import PUSHED, Settle
from services.transformer.transform import TransformHandler
from tests.support.samples import NOW_MS, batch_of, entry_of

UP = {"__name__": "up"}


@pytest.mark.parametrize(("window_id", "drops"), [("w1", {}), (PUSHED, {"timestamp_in_future": 1})])
def test_a_clock_that_is_behind_drops_nothing_that_was_pulled(
    window_id: str, drops: dict[str, int]
) -> None:
    batch = batch_of([(UP, [(NOW_MS, 1.0)])])
    batch = replace(batch, origin=replace(batch.origin, window_id=window_id, end_ms=NOW_MS))
    handler = TransformHandler(SeriesEncoder(), clock=lambda: NOW_MS / 1000 - 3600)

    (verdict,) = handler.handle([entry_of(batch)])

    assert isinstance(verdict, Settle)
    assert verdict.drops == drops
