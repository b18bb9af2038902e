"""The lines that ``etlctl run`` prints."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from etlctl.run.journal import Journal, readable

EVENT = {
    "timestamp": "2026-11-29T12:00:01.5Z",
    "level": "warning",
    "service": "loader",
    "event": "sink_unavailable",
}


def printed(as_json: bool, *lines: bytes) -> str:
    stream = io.StringIO()
    journal = Journal(
        as_json=as_json,
        handler=logging.StreamHandler(stream),
        now=lambda: datetime(2026, 11, 29, 12, 0, 2, tzinfo=UTC),
    )
    for line in lines:
        journal.line("loader", line)
    return stream.getvalue()


def test_an_event_is_one_readable_line() -> None:
    fields = {"status": 503, "detail": "over there", "ok": False, "none": None, "query": "up"}
    assert readable({**EVENT, **fields}) == (
        '12:00:01 loader      warning sink_unavailable status=503 detail="over there" ok=false'
        " query=up"
    )
    assert readable({**EVENT, "level": "info"}) == "12:00:01 loader              sink_unavailable"


@pytest.mark.parametrize("value", ["a\x1b[2Jb", "a\nb", 'a"b', "", "a=b"])
def test_a_value_cannot_be_taken_for_anything_else(value: str) -> None:
    line = readable({**EVENT, "detail": value})
    shown = line.split("detail=")[1]
    assert json.loads(shown) == value
    assert line.isprintable()


def test_colours_are_added_and_nothing_else() -> None:
    plain = readable({**EVENT, "status": 503})
    coloured = readable({**EVENT, "status": 503}, colours=True)
    assert "\033[33mwarning" in coloured
    for code in ("\033[2m", "\033[0m", "\033[32m", "\033[33m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


@pytest.mark.parametrize("line", [b"Traceback:\x1b[2J \xff\n", b"[1]\n", b'{"event": "x"}\n'])
def test_what_is_no_event_is_shown_as_it_is(line: bytes) -> None:
    text = printed(False, line, b"\n")
    assert text.startswith("12:00:02 loader              ")
    assert "\x1b" not in text and text.count("\n") == 1


def test_as_json_every_line_is_an_object_that_names_its_process() -> None:
    event = json.dumps({**EVENT, "service": "another"}).encode()
    first, second = map(json.loads, printed(True, event, b"plain text").splitlines())
    assert first == EVENT
    assert (second["service"], second["event"]) == ("loader", "plain text")
