"""Since when a tier of rollups must have a window."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import TierName
from etlctl.verify.windows import window_due
from tests.support.settings_files import load

FILE = """
extract:
  prometheus_url: http://p
  settle_seconds: 30s
  queries: [{name: q, select: up}]
load:
  influxdb: {url: http://i, org: o, bucket: hot}
  tiers:
    warm: {bucket: w, resolution: 5m, aggregates: [max]}
    cold: {bucket: c, resolution: 1h, aggregates: [max]}
"""
MINUTE_MS = 60_000
NOON_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000


@pytest.mark.parametrize(
    ("tier", "oldest_minutes", "now_minutes", "due"),
    [
        # The hour has settled, and there was time to plan it.
        ("warm", -20, 2, True),
        ("warm", -20, 1, False),
        # It ends within the first bucket.
        ("warm", -3, 2, False),
        ("warm", 5, 50, False),
        # The first whole hour is not over.
        ("cold", -20, 2, False),
        ("cold", -60, 2, True),
        ("cold", -20, 62, True),
    ],
)
def test_a_window_is_due_when_a_whole_bucket_of_it_has_settled(
    tmp_path: Path, tier: TierName, oldest_minutes: int, now_minutes: int, due: bool
) -> None:
    settings = load(tmp_path, FILE)
    times_ms = (NOON_MS + minutes * MINUTE_MS for minutes in (oldest_minutes, now_minutes))
    assert window_due(settings, settings.extract.queries[0], tier, *times_ms) is due


@pytest.mark.parametrize(("now_minutes", "due"), [(2, False), (10, False), (12, True)])
def test_it_may_take_longer_where_the_source_decides_how_long_samples_settle(
    tmp_path: Path, now_minutes: int, due: bool
) -> None:
    settings = load(tmp_path, FILE.replace("settle_seconds: 30s", "settle_seconds: auto"))
    times_ms = (NOON_MS + minutes * MINUTE_MS for minutes in (-20, now_minutes))
    assert window_due(settings, settings.extract.queries[0], "warm", *times_ms) is due
