"""What may be asked of /scenario."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.etl_log import SCENARIOS
from services.simulator.process import InForce
from services.simulator.scenario_request import (
    BadMediaType,
    BadRequest,
    ScenarioRequest,
    document,
    parse_request,
)
from services.simulator.scenarios import REQUESTS, behaviours
from tests.support.simulator_world import PACE

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def test_every_scenario_can_be_asked_for_and_has_its_behaviour() -> None:
    assert set(REQUESTS.values()) == set(SCENARIOS) == set(behaviours(PACE))
    assert set(REQUESTS) - set(SCENARIOS) == {"recover"}


@pytest.mark.parametrize("name", REQUESTS)
def test_json_and_form_say_the_same(name: str) -> None:
    expected = ScenarioRequest(REQUESTS[name])
    assert parse_request(JSON, json.dumps({"scenario": name}).encode()) == expected
    assert parse_request(FORM, f"scenario={name}".encode()) == expected


@pytest.mark.parametrize(
    ("kind", "body", "seconds"),
    [
        (JSON, b'{"scenario": "slow", "for": "10m"}', 600),
        (JSON, b'{"scenario": "slow", "for": null}', None),
        (f"{JSON}; charset=utf-8", b'{"for": "90s", "scenario": "slow"}', 90),
        (JSON.upper(), b'{"for": "1h30m", "scenario": "slow"}', 5400),
        (FORM, b"scenario=slow&for=250ms", 0.25),
        (f"{FORM};charset=UTF-8", b"for=366d&scenario=slow", 366 * 86_400),
    ],
)
def test_a_duration_can_go_with_it(kind: str, body: bytes, seconds: float | None) -> None:
    assert parse_request(kind, body) == ScenarioRequest("slow", seconds)


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("", b"scenario=slow", "not 'nothing'"),
        ("text/plain", b"scenario=slow", "not 'text/plain'"),
        (JSON, b"", "not JSON"),
        (JSON, b"{", "not JSON"),
        (JSON, b"\xff", "not JSON"),
        (JSON, b"[" * 4000, "not JSON"),
        (JSON, b'["slow"]', "not a JSON object"),
        (JSON, b"{}", "scenario: None is none of outage, stall"),
        (JSON, b'{"scenario": 7}', "scenario: 7 is none"),
        (JSON, b'{"scenario": ["slow"]}', "is none of"),
        (JSON, b'{"scenario": "Slow"}', "'Slow' is none of"),
        (JSON, b'{"scenario": "normal"}', "'normal' is none of"),
        (JSON, b'{"scenario": "slow", "at": "now"}', "'at': unknown field"),
        (JSON, b'{"scenario": "slow", "for": 600}', "600 is not a duration such as"),
        (JSON, b'{"scenario": "slow", "for": "soon"}', "'soon' is not a duration"),
        (JSON, b'{"scenario": "slow", "for": "0"}', "not between 1ms and 366d"),
        (JSON, b'{"scenario": "slow", "for": "2y"}', "not between 1ms and 366d"),
        (JSON, b'{"scenario": "recover", "for": "1m"}', "recover lasts"),
        (FORM, b"", "scenario: None is none"),
        (FORM, b"scenario=slow&for=", "'' is not a duration"),
        (FORM, b"scenario=slow&scenario=stall", "twice"),
        (FORM, b"scenario=%ff", "not a form"),
        (FORM, b"\xff=1", "not a form"),
        (FORM, b"&".join(b"a%d=1" % n for n in range(99)), "not a form"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(kind: str, body: bytes, why: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(kind, body)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 200
    assert isinstance(caught.value, BadMediaType) == (kind not in {JSON, FORM})


@given(st.sampled_from([JSON, FORM]), st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_bad_one(kind: str, body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        parse_request(kind, body)


def test_the_answer_says_since_and_until_when() -> None:
    assert document(InForce("normal", 0.25, None, None)) == {
        "scenario": "normal",
        "since": "1970-01-01T00:00:00.250Z",
        "until": None,
        "remaining_seconds": None,
    }
    assert document(InForce("slow", 0.0, 90.0, 29.9996)) == {
        "scenario": "slow",
        "since": "1970-01-01T00:00:00.000Z",
        "until": "1970-01-01T00:01:30.000Z",
        "remaining_seconds": 30.0,
    }
