"""The history that the fault suite has from before its run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from devtools.chaos.helpers import Proxies
from devtools.chaos.load import COUNTER, COUNTERS
from devtools.chaos.past import PastSamples
from devtools.chaos.rig import DELAY_SECONDS, PACE, SERVICES, config_overrides

NOW_SECONDS = 1_800_000_123.5


def test_it_ends_hours_before_the_run_and_has_what_an_increase_begins_with(tmp_path: Path) -> None:
    past = PastSamples(NOW_SECONDS, 60)
    file = tmp_path / "new" / "past.om"
    past.write(file, "host:1")

    first, *lines, last = file.read_text().splitlines()
    assert (first, last) == ("# TYPE load_counter counter", "# EOF")
    times = sorted({int(line.rsplit(" ", 1)[1]) for line in lines})
    assert len(lines) == len(times) * COUNTERS
    assert times[0] * 1000 <= past.start_ms - 300_000
    assert times[-1] * 1000 == past.end_ms == past.start_ms + 60_000
    assert past.end_ms / 1000 <= NOW_SECONDS - 4 * 3600


def test_its_series_are_those_of_a_scrape_and_its_counters_begin_anew(tmp_path: Path) -> None:
    file = tmp_path / "past.om"
    PastSamples(NOW_SECONDS, 3600).write(file, "host:1")

    lines = file.read_text().splitlines()[1:-1]
    head = f'{COUNTER}{{series="00003",shard="s3",job="load",instance="host:1"}}'
    values = [float(line.rsplit(" ", 2)[1]) for line in lines if line.startswith(head)]
    assert len(values) > 3600
    falls = sum(after < before for before, after in pairwise(values))
    assert 0 < falls < 60


def test_waits_in_the_proxy_leave_extractors_room_for_what_is_not_live(tmp_path: Path) -> None:
    overrides = config_overrides(Proxies(tmp_path, "1", log_dir=tmp_path))
    queries = overrides["extract"]["queries"]
    # A window is read, and whether the server was started anew is asked; then it is recounted, of
    # an expression again with that question.
    requests = sum(4 if "expr" in query else 3 for query in queries)
    waits_seconds = requests * sum(DELAY_SECONDS["prometheus"]) / 2

    assert waits_seconds < SERVICES["extractor"] * PACE.interval_seconds / 4
