"""Events are counted from logs as they grow, whatever else is in them."""

from __future__ import annotations

import json
from pathlib import Path

from devtools.chaos.journal import Journal


def write(path: Path, *records: object) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.writelines(f"{json.dumps(record)}\n" for record in records)


def test_events_are_counted_by_service_over_its_processes_and_lives(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    write(tmp_path / "loader-1.log", {"event": "entry_claimed"}, {"event": "entry_claimed"})
    write(tmp_path / "loader-2.log", {"event": "entry_claimed"})
    write(tmp_path / "transformer-1.log", {"event": "entry_claimed"})

    assert journal.counts()["loader", "entry_claimed"] == 3
    write(tmp_path / "loader-2.log", {"event": "entry_claimed"})

    assert journal.counts()["loader", "entry_claimed"] == 4
    assert journal.total("entry_claimed") == 5


def test_details_are_counted_beside_their_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    states = ("open", "half_open", "closed", "open")
    write(
        tmp_path / "loader-1.log",
        *({"event": "sink_circuit_changed", "state": state} for state in states),
    )

    counts = journal.counts()

    assert counts["loader", "sink_circuit_changed"] == 4
    assert counts["loader", "sink_circuit_changed:open"] == 2


def test_a_line_that_is_not_finished_is_read_when_it_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    log = tmp_path / "loader-1.log"
    log.write_text('{"event": "entry_cla')
    assert journal.total("entry_claimed") == 0

    with log.open("a") as more:
        more.write('imed"}\n')

    assert journal.total("entry_claimed") == 1
    assert journal.total("entry_claimed") == 1


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    log = tmp_path / "redis.log"
    log.write_text('1:M started\n{"event": "half of a li\n{"event": 5}\n{}\n[1]\n')
    write(log, {"event": "entry_claimed"})

    assert dict(journal.counts()) == {("redis", "entry_claimed"): 1}


def test_samples_of_windows_that_were_opened_again_are_added_up_by_feed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record = {"event": "window_reopened", "query": "up", "tier": "hot", "samples_before": 7}
    record |= {"start_ms": 10, "end_ms": 20}
    write(tmp_path / "extractor-1.log", record, record)

    assert journal.reopened_samples() == {"up@hot": 14}
    assert journal.reopened_spans() == [("up@hot", (10, 20))] * 2
