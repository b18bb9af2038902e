"""The mirror of dead letters: whole lines, and never in the way."""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.mirror import DeadLetterMirror
from common.runtime.telemetry import Telemetry
from common.state.dead_letters.kept import KeptDeadLetter
from common.state.verdict import DeadLetter, Entry
from etlctl.dead_letters.export import document
from tests.support.captured_log import CapturedLog

ENTRY = Entry("1-0", 1, "q", "hot", "select", "w1", 3, b"")


def test_dead_letters_are_appended_as_lines(tmp_path: Path) -> None:
    mirror = DeadLetterMirror(
        tmp_path / "dead.jsonl", "loader", telemetry(), wall_clock=lambda: 1_700_000_000.25
    )

    mirror.append(ENTRY, DeadLetter("rejected", "field\ntype conflict", b"m value=1 1\n", 1))
    mirror.append(ENTRY, DeadLetter("corrupt", "broken", b"\xff\x00", 2))

    text, binary = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())
    assert text == {
        "stage": "loader",
        "reason": "rejected",
        "detail": "field\ntype conflict",
        "query": "q",
        "tier": "hot",
        "kind": "select",
        "feed": "q@hot",
        "window_id": "w1",
        "entry_id": "1-0",
        "samples": 1,
        "at_ms": 1_700_000_000_250,
        "measurement": "",
        "payload": "m value=1 1\n",
    }
    assert base64.b64decode(binary["payload_base64"]) == b"\xff\x00"


def test_lines_are_written_as_text_however_they_are_kept(tmp_path: Path) -> None:
    mirror = DeadLetterMirror(tmp_path / "dead.jsonl", "loader", telemetry())
    lines = b"m value=1 1\nm value=1 2\n"
    mirror.append(ENTRY, DeadLetter("poison", "x", gzip.compress(lines), 2))
    mirror.append(ENTRY, DeadLetter("corrupt", "x", gzip.compress(lines)[:-9], 2))
    text, broken = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())
    assert text["payload"] == lines.decode()
    assert base64.b64decode(broken["payload_base64"]) == gzip.compress(lines)[:-9]


def test_a_line_has_the_members_of_an_export_but_for_the_id(tmp_path: Path) -> None:
    mirror = DeadLetterMirror(tmp_path / "dead.jsonl", "loader", telemetry())
    mirror.append(ENTRY, DeadLetter("rejected", "x", b"m value=1 1\n", 1))
    dead = KeptDeadLetter(
        "7-0", "loader", "rejected", "x", "q", "hot", "select", "q@hot", "w1", "1-0", 1, 2, "key"
    )

    line = json.loads((tmp_path / "dead.jsonl").read_text())

    assert ["id", *line] == list(document(dead, b"m value=1 1\n"))


def test_a_file_that_cannot_be_written_is_reported_and_nothing_more(tmp_path: Path) -> None:
    log = CapturedLog()
    mirror = DeadLetterMirror(tmp_path / "no" / "dead.jsonl", "loader", telemetry(log))
    mirror.append(ENTRY, DeadLetter("rejected", "x", b"", 1))

    assert log.events == ["mirror_failed"]


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    log = CapturedLog()
    (tmp_path / "else").write_text("as it was")
    (tmp_path / "dead.jsonl").symlink_to(tmp_path / "else")
    mirror = DeadLetterMirror(tmp_path / "dead.jsonl", "loader", telemetry(log))

    mirror.append(ENTRY, DeadLetter("rejected", "x", b"", 1))

    assert log.events == ["mirror_failed"]
    assert (tmp_path / "else").read_text() == "as it was"


def telemetry(log: CapturedLog | None = None) -> Telemetry:
    return Telemetry("loader", CollectorRegistry(), logger=log)


def test_a_dead_letter_that_did_not_fit_is_reported_and_swallows_none_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CapturedLog()
    mirror = DeadLetterMirror(tmp_path / "dead.jsonl", "loader", telemetry(log))
    dead = DeadLetter("rejected", "x", b"m value=1 1\n", 1)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, text: write(file, text[:40]))
        mirror.append(ENTRY, dead)
    assert log.events == ["mirror_failed"]
    assert "only 40 of" in log.lines[0]["error"]

    mirror.append(ENTRY, dead)
    mirror.append(ENTRY, dead)

    _, *whole = (tmp_path / "dead.jsonl").read_text().splitlines()
    assert [json.loads(line)["payload"] for line in whole] == ["m value=1 1\n"] * 2
