"""The mirror of dead letters: whole lines, and never in the way."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from common.mirror import DeadLetterMirror
from common.telemetry import Telemetry
from common.verdict import DeadLetter, Entry

ENTRY = Entry("1-0", 1, "q", "hot", "select", "w1", 3, b"")


def test_letters_are_appended_as_lines(tmp_path: Path) -> None:
    mirror = DeadLetterMirror(tmp_path / "dead.jsonl", "loader", telemetry())

    mirror.append(ENTRY, DeadLetter("rejected", "field\ntype conflict", b"m value=1 1\n", 1))
    mirror.append(ENTRY, DeadLetter("corrupt", "broken", b"\xff\x00", 2))

    text, binary = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())
    assert (text["reason"], text["payload"], text["entry"]) == ("rejected", "m value=1 1\n", "1-0")
    assert base64.b64decode(binary["payload_base64"]) == b"\xff\x00"


def test_a_file_that_cannot_be_written_is_told_and_nothing_more(tmp_path: Path) -> None:
    with capture_logs() as logs:
        mirror = DeadLetterMirror(tmp_path / "no" / "dead.jsonl", "loader", telemetry())
        mirror.append(ENTRY, DeadLetter("rejected", "x", b"", 1))

    assert [line["event"] for line in logs] == ["mirror_failed"]


def telemetry() -> Telemetry:
    return Telemetry("loader", CollectorRegistry())
