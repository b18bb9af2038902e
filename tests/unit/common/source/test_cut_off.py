"""Since when a front answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import pytest

from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.source.cut_off import STEP_MS, CutOff
from common.source.query_api import QueryApi

NOW = 1_700_000_003_217
DAY = 86_400_000
HOUR = 3_600_000


class Front:
    """Answers a constant for what is later than its limit. ``seconds`` pass in its test."""

    def __init__(self, behind_ms: int | None) -> None:
        self.behind_ms = behind_ms
        self.seconds = 0.0
        self.asked = 0
        self.error: SourceError | None = None
        self.body = b""

    @property
    def now_ms(self) -> int:
        return NOW + round(self.seconds * 1000)

    @property
    def limit_ms(self) -> int:
        return 0 if self.behind_ms is None else self.now_ms - self.behind_ms

    @contextmanager
    def stream(self, endpoint: str, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        assert (endpoint, params["query"]) == ("query_range", "vector(1)")
        assert params["start"] == params["end"]
        self.asked += 1
        time_ms = int(params["start"]) * 1000
        if self.error is not None:
            raise self.error
        found = [{"metric": {}, "values": [[1, "1"]]}] if time_ms >= self.limit_ms else []
        yield iter([self.body or json.dumps({"data": {"result": found}}).encode()])

    def cut_off(self) -> CutOff:
        return CutOff(cast(QueryApi, self), lambda: self.now_ms, lambda: self.seconds)


@pytest.mark.parametrize("behind_ms", [HOUR, 13 * DAY + 7, 400 * DAY])
def test_it_is_found_and_lies_behind_the_limit_as_long_as_it_is_kept(behind_ms: int) -> None:
    front = Front(behind_ms)
    cut_off = front.cut_off()
    before_ms = 0
    for _ in range(100):
        found_ms = cut_off.from_ms()
        assert found_ms is not None
        assert front.limit_ms <= found_ms <= front.limit_ms + 4 * STEP_MS
        assert found_ms >= before_ms
        before_ms = found_ms
        front.seconds += 3.7


def test_once_it_is_known_it_costs_little() -> None:
    front = Front(13 * DAY)
    cut_off = front.cut_off()
    cut_off.from_ms()
    first, front.asked = front.asked, 0
    cut_off.from_ms()
    assert front.asked == 0
    front.seconds += 60
    cut_off.from_ms()
    assert front.asked <= 6 < first <= 32


@pytest.mark.parametrize("now_behind_ms", [2 * DAY, 60 * DAY])
def test_a_limit_that_was_changed_is_found_anew(now_behind_ms: int) -> None:
    front = Front(13 * DAY)
    cut_off = front.cut_off()
    cut_off.from_ms()
    front.behind_ms = now_behind_ms
    front.seconds += 60
    found_ms = cut_off.from_ms()
    assert found_ms is not None
    assert front.limit_ms <= found_ms <= front.limit_ms + 4 * STEP_MS


def test_one_that_has_no_limit_is_asked_once_in_a_while() -> None:
    front = Front(None)
    cut_off = front.cut_off()
    assert cut_off.from_ms() is None
    assert cut_off.from_ms() is None
    assert front.asked == 1
    front.seconds += 3600
    cut_off.from_ms()
    assert front.asked == 2


def test_where_constants_tell_nothing_nothing_is_known() -> None:
    """Else all that there is would be declared lost."""
    front = Front(-DAY)
    assert front.cut_off().from_ms() is None
    for error in (QueryRejected("no"), SourceRefused("no")):
        front = Front(DAY)
        front.error = error
        assert front.cut_off().from_ms() is None
    for body in (b"<html>", b"[]", b'{"data":{}}', b"[" * 100_000):
        front = Front(DAY)
        front.body = body
        assert front.cut_off().from_ms() is None


@pytest.mark.parametrize("error", [SourceUnavailable("429"), QueryTooLarge("timed out")])
@pytest.mark.parametrize("is_known", [True, False])
def test_that_it_does_not_answer_now_is_no_absence_of_a_limit(
    error: SourceError, *, is_known: bool
) -> None:
    """Else what lies before it would be read as empty, and committed."""
    front = Front(DAY)
    cut_off = front.cut_off()
    if is_known:
        cut_off.from_ms()
        front.seconds += 60
    front.error = error
    with pytest.raises(SourceUnavailable):
        cut_off.from_ms()
    front.error = None
    found_ms = cut_off.from_ms()
    assert found_ms is not None
    assert front.limit_ms <= found_ms <= front.limit_ms + 4 * STEP_MS


def test_it_is_looked_for_anew_where_another_server_may_answer() -> None:
    front = Front(DAY)
    cut_off = front.cut_off()
    cut_off.from_ms()
    front.behind_ms = 2 * DAY
    cut_off.expire()
    found_ms = cut_off.from_ms()
    assert found_ms is not None
    assert front.limit_ms <= found_ms <= front.limit_ms + 4 * STEP_MS
