"""What ``POST /scenario`` requests, and what ``/scenario`` shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

from common.durations import parse_duration_ms
from common.runtime.etl_log import Scenario
from services.simulator.process import InForce, rfc3339
from services.simulator.scenarios import RECOVER, REQUESTS

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_FIELDS = {"scenario", "for"}
# Long enough for any exercise, short enough for every calendar.
_LONGEST_SECONDS = 366 * 86_400


class BadRequest(ValueError):
    """The request is not one; the text says in one sentence why."""


class BadMediaType(BadRequest):
    """The body is of a kind that nobody here reads."""


@dataclass(frozen=True, slots=True)
class ScenarioRequest:
    """A scenario to be put in force, for so many seconds or, with None, until the next one."""

    scenario: Scenario
    for_seconds: float | None = None


def parse_request(content_type: str, body: bytes) -> ScenarioRequest:
    """The request in a body: JSON or a form, of ``scenario`` and, optionally, ``for``.

    Raises :class:`BadRequest`.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _JSON:
        fields = _json_fields(body)
    elif kind == _FORM:
        fields = _form_fields(body)
    else:
        raise BadMediaType(f"send {_JSON} or {_FORM}, not {kind or 'nothing'!r}")
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise BadRequest(f"{unknown[0]!r:.60}: unknown field; there are scenario and for")
    return request_of(fields.get("scenario"), fields.get("for"))


def request_of(scenario: object, duration: object = None) -> ScenarioRequest:
    """The request in two texts, e.g. ``slow`` and ``10m``; raises :class:`BadRequest`."""
    if not isinstance(scenario, str) or scenario not in REQUESTS:
        raise BadRequest(f"scenario: {scenario!r:.60} is none of {', '.join(REQUESTS)}")
    if duration is None:
        return ScenarioRequest(REQUESTS[scenario])
    if scenario == RECOVER:
        raise BadRequest("for: recover lasts until the next scenario")
    if not isinstance(duration, str):
        raise BadRequest(f"for: {duration!r:.60} is not a duration such as 90s or 10m")
    try:
        for_seconds = parse_duration_ms(duration) / 1000
    except ValueError as error:
        raise BadRequest(f"for: {error}") from None
    if not 0 < for_seconds <= _LONGEST_SECONDS:
        raise BadRequest(f"for: {duration!r:.60} is not between 1ms and 366d")
    return ScenarioRequest(REQUESTS[scenario], for_seconds)


def document(in_force: InForce) -> dict[str, object]:
    """What is in force, as JSON."""
    until, remaining = in_force.until_seconds, in_force.remaining_seconds
    return {
        "scenario": in_force.scenario,
        "since": rfc3339(in_force.since_seconds),
        "until": None if until is None else rfc3339(until),
        "remaining_seconds": None if remaining is None else round(remaining, 3),
    }


def _json_fields(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(document, dict):
        raise BadRequest('the body is not a JSON object such as {"scenario": "slow"}')
    return document


def _form_fields(body: bytes) -> dict[str, object]:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=16
        )
    except ValueError:
        raise BadRequest("the body is not a form such as scenario=slow&for=10m") from None
    fields: dict[str, object] = dict(pairs)
    if len(fields) < len(pairs):
        raise BadRequest("a field is there twice")
    return fields
