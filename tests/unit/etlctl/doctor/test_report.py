"""Findings, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import SinkError
from etlctl.doctor.report import Report, Said, failure, ok, warning


def raising(error: Exception) -> Iterator[Said]:
    yield ok("begun")
    raise error


@pytest.mark.parametrize(
    ("error", "detail", "do"),
    [
        (SinkError("it is away"), "it is away", "start it"),
        (RedisConnectionError("no route"), "Redis cannot be reached: no route", "start it"),
        (KeyError("x"), "KeyError: 'x'", "this is a defect of the check: please report it"),
    ],
)
def test_an_error_is_a_failure_with_what_to_do(error: Exception, detail: str, do: str) -> None:
    report = Report()
    assert not report.check("s", "c", lambda: raising(error), "start it")
    assert [one.level for one in report.findings] == ["ok", "failure"]
    assert (report.findings[-1].detail, report.findings[-1].do) == (detail, do)
    assert report.exit_code == 1


def test_warnings_alone_need_nobody() -> None:
    report = Report()
    assert report.check("s", "c", lambda: iter([warning("odd", "look")]))
    assert report.exit_code == 0
    assert report.document()["well"]
    assert [line for _, line in report.lines()][-1] == "0 failures, 1 warning."


def test_sections_have_a_heading_each_and_lines_are_wrapped() -> None:
    report = Report()
    report.add("one", "a", ok("well"))
    report.add("one", "b", failure("word " * 40, "do " * 40))
    report.add("two", "c", ok("x" * 300))
    lines = [line for _, line in report.lines()]
    assert lines[:2] == ["one", "  ok       a: well"]
    assert lines.count("one") == lines.count("two") == 1
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("    → do do") for line in lines)
    assert lines[-1] == "1 failure, 0 warnings."
