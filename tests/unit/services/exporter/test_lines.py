"""A line of the ETL process' log: what is read of it, and why others are left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.etl_log import COMMON_FIELDS, ERROR_TYPES
from services.exporter.lines import (
    NOT_JSON,
    NOT_OURS,
    NOT_UTF8,
    REASONS,
    UNKNOWN_SCHEMA,
    LineError,
    parse,
)
from tests.support.etl_log_lines import fields, line


def reason(raw: bytes) -> str:
    with pytest.raises(LineError) as caught:
        parse(raw)
    return str(caught.value)


def outcome(raw: bytes) -> str | None:
    """Why a line cannot be used, None if it can."""
    try:
        parse(raw)
    except LineError as error:
        return str(error)
    return None


def with_field(name: str, value: Any) -> bytes:
    return json.dumps(fields(3) | {name: value}).encode()


def test_a_line_of_the_contract() -> None:
    found = parse(line(3, at=1_700_000_000.25, failures=4, healthy=False))
    assert found.timestamp == 1_700_000_000.25
    assert (found.event, found.run_id, found.sequence) == ("heartbeat", "0123456789ab", 3)
    assert not found.healthy
    assert (found.totals.records, found.totals.files, found.totals.failures) == (30, 3, 4)
    assert found.totals.errors == dict.fromkeys(ERROR_TYPES, 0) | {ERROR_TYPES[0]: 4}
    assert found.heartbeat_seconds == 5.0


def test_the_helper_speaks_the_whole_contract() -> None:
    assert set(COMMON_FIELDS) <= fields(1).keys()


def test_fields_may_be_added_to_the_contract() -> None:
    assert parse(with_field("colour", ["blue"])).sequence == 3


def test_errors_of_an_unknown_type_are_kept_under_other() -> None:
    found = parse(with_field("errors_by_type", {"malformed_file": 1, "moon": 2, "tide": 3}))
    assert found.totals.errors == {"malformed_file": 1, "other": 5}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff\xfe{}", NOT_UTF8),
        (b"half a li", NOT_JSON),
        (line(3)[:-20], NOT_JSON),
        (b"\x00" * 50, NOT_JSON),
        (b"[" * 60_000, NOT_JSON),
        (b'{"schema":' + b"9" * 5000 + b"}", NOT_JSON),
        (b"17", NOT_OURS),
        (b"{}", NOT_OURS),
        (b'{"schema":1}', NOT_OURS),
        (with_field("schema", 2), UNKNOWN_SCHEMA),
        (with_field("schema", "1"), UNKNOWN_SCHEMA),
        (with_field("event", "coffee"), NOT_OURS),
        (with_field("event", ["heartbeat"]), NOT_OURS),
        (with_field("healthy", 1), NOT_OURS),
        (with_field("run_id", ""), NOT_OURS),
        (with_field("run_id", "x" * 65), NOT_OURS),
        (with_field("sequence", True), NOT_OURS),
        (with_field("sequence", 2.0), NOT_OURS),
        (with_field("records_total", -1), NOT_OURS),
        (with_field("records_total", 10**30), NOT_OURS),
        (with_field("uptime_seconds", float("nan")), NOT_OURS),
        (with_field("uptime_seconds", float("inf")), NOT_OURS),
        (with_field("uptime_seconds", 10**400), NOT_OURS),
        (with_field("uptime_seconds", "5"), NOT_OURS),
        (with_field("errors_by_type", [1]), NOT_OURS),
        (with_field("errors_by_type", {"malformed_file": None}), NOT_OURS),
        (with_field("timestamp", 5), NOT_OURS),
        (with_field("timestamp", "yesterday"), NOT_OURS),
        (with_field("heartbeat_seconds", -1), NOT_OURS),
    ],
)
def test_a_line_that_cannot_be_used_is_told_apart(raw: bytes, why: str) -> None:
    assert reason(raw) == why


@pytest.mark.parametrize("name", [name for name in fields(1) if name not in {"level", "service"}])
def test_every_field_that_is_exported_is_needed(name: str) -> None:
    rest = {key: value for key, value in fields(1).items() if key != name}
    unused = {"scenario", "processing_seconds_total", "heartbeat_seconds"}
    raw = json.dumps(rest).encode()
    if name in unused:
        assert parse(raw).sequence == 1
    else:
        assert reason(raw) == NOT_OURS


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_bytes_are_fatal(raw: bytes) -> None:
    assert outcome(raw) in {*REASONS, None}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(fields(1))), _VALUES, max_size=4))
def test_no_value_of_a_field_is_fatal(changed: dict[str, Any]) -> None:
    assert outcome(json.dumps(fields(1) | changed).encode()) in {*REASONS, None}
