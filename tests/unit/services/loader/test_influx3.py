"""What InfluxDB 3's responses mean, and what is made of the lines that it lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from typing import Any

import pytest

from common.state.verdict import PUSHED, Settle
from services.loader.influx import InfluxSink
from services.loader.influx3 import classify_3
from services.loader.isolate import Isolation
from services.loader.lines import Lines, LineStatus
from services.loader.responses import Kind, Outcome
from services.loader.retention_cache import ASK_AGAIN_SECONDS, ASK_SECONDS, RetentionCache
from tests.doubles.loading import (
    BUCKET,
    DAY_SECONDS,
    NOW_MS,
    WRITTEN,
    Bench,
    Clock,
    entry,
    lines,
    load_settings,
    old,
    payload,
    tier,
)
from tests.support.answering_server import AnsweringServer, Handler, reply

PARTIAL = "partial write of line protocol occurred"
TABLES = "Update to schema would exceed number of tables limit of 2000 tables"


def respond(status: int, body: Any) -> Outcome:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return classify_3(status, {}, content, now_seconds=0.0)


def partial(**messages: str) -> dict[str, Any]:
    """``_3="why"``: line 3 is refused."""
    data = [
        {"original_line": "not as it was", "line_number": int(name[1:]), "error_message": message}
        for name, message in messages.items()
    ]
    return {"error": PARTIAL, "data": data}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (204, "", Kind.WRITTEN),
        (401, "", Kind.REFUSED),
        (403, "", Kind.REFUSED),
        (400, "incoming write was empty", Kind.POINTS),
        (400, partial(_1="invalid column type"), Kind.POINTS),
        (422, partial(_1=TABLES), Kind.LIMIT),
        (422, partial(_1=TABLES, _2="invalid number"), Kind.POINTS),
        (400, "body content is not valid utf8: invalid utf-8 sequence", Kind.POINTS),
        (500, "body content is not valid utf8: invalid utf-8 sequence", Kind.POINTS),
        (413, "max request size (10485760 bytes) exceeded", Kind.TOO_LARGE),
        (500, "max request size (10485760 bytes) exceeded", Kind.TOO_LARGE),
        (400, "error decoding gzip stream: corrupt deflate stream", Kind.UNREADABLE),
        (500, "error decoding gzip stream: corrupt deflate stream", Kind.UNREADABLE),
        (422, {"error": "Adding a new database would exceed limit of 5 databases"}, Kind.CAPACITY),
        (
            400,
            {"error": "invalid character in database name: must be ASCII, containing only …"},
            Kind.UNEXPECTED,
        ),
        (
            400,
            {"error": "cannot write to soft-deleted database 'x' - it is marked for deletion"},
            Kind.MISSING,
        ),
        (500, "catalog update error: object store", Kind.FAILED),
        (503, "", Kind.BUSY),
        (404, "not found", Kind.MISSING),
        (200, "a captive portal", Kind.UNEXPECTED),
    ],
)
def test_responses_to_a_write(status: int, body: Any, kind: Kind) -> None:
    assert respond(status, body).kind is kind


@pytest.mark.parametrize(
    "data", [None, [], "no", [1], [{"line_number": "1", "error_message": "x"}], [{}]]
)
def test_a_list_of_another_form_is_no_list(data: Any) -> None:
    outcome = respond(400, {"error": PARTIAL, "data": data})
    assert (outcome.kind, outcome.refused_lines) == (Kind.POINTS, ())


def test_a_sink_that_hangs_when_it_is_asked_is_not_asked_for_each_entry() -> None:
    """A batch of eight took more than three minutes, and the loader did not seem to live."""
    clock = Clock()
    asked: list[float] = []

    def hang() -> str:
        asked.append(clock.now)
        clock.pass_(25.0)
        return "no response"

    cache = RetentionCache(hang, clock)
    for _ in range(8):
        assert cache.seconds("hot") == inf
        clock.pass_(1.0)
    assert len(asked) == 1
    clock.pass_(25.0)
    cache.seconds("hot")
    assert len(asked) == 2


def test_the_retention_said_last_holds_while_the_sink_does_not_say() -> None:
    said: list[dict[str, float] | str] = [{"a": 1.0}, "no", {"a": 2.0}]
    clock = Clock()
    cache = RetentionCache(lambda: said.pop(0), clock)
    assert [cache.seconds("a"), cache.seconds("b"), len(said)] == [1.0, inf, 2]
    clock.pass_(ASK_SECONDS)
    assert (cache.seconds("a"), cache.seconds("a"), len(said)) == (1.0, 1.0, 1)
    clock.pass_(ASK_AGAIN_SECONDS)
    assert cache.seconds("a") == 2.0, "too old points vanish meanwhile: it is asked again soon"


def test_a_retention_is_unknown_until_the_sink_says_it() -> None:
    said: list[dict[str, float] | str] = ["not yours", {"a": 1.0}, "no"]
    clock = Clock()
    cache = RetentionCache(lambda: said.pop(0), clock)
    assert cache.unknown is None, "nobody has asked yet"
    seen = []
    for wait_seconds in (0, ASK_AGAIN_SECONDS, ASK_SECONDS):
        clock.pass_(wait_seconds)
        seen.append((cache.seconds("a"), cache.unknown))
    assert seen == [(inf, "not yours"), (1.0, None), (1.0, None)]


def isolated(text: list[bytes], *outcomes: Outcome) -> tuple[Lines, list[list[bytes]]]:
    found, posts, answers = Lines(text), [], list(outcomes)

    def post(some: Sequence[bytes]) -> Outcome:
        posts.append(list(some))
        return answers.pop(0)

    assert Isolation(found, post).run() is None
    assert not answers
    return found, posts


def test_listed_lines_are_set_aside_and_the_rest_is_posted_again() -> None:
    text = lines(6)
    found, posts = isolated(text, respond(422, partial(_2="no number", _5=TABLES)), WRITTEN)
    assert posts == [text, [text[i] for i in (0, 2, 3, 5)]]
    assert list(found.status) == [
        LineStatus.WRITTEN,
        LineStatus.REJECTED,
        LineStatus.WRITTEN,
        LineStatus.WRITTEN,
        LineStatus.LIMITED,
        LineStatus.WRITTEN,
    ]
    assert found.messages == {1: "no number", 4: TABLES}


@pytest.mark.parametrize("number", ["_0", "_7"])
def test_numbers_that_cannot_be_ours_are_not_believed(number: str) -> None:
    text = lines(2)
    refused = respond(400, partial(**{number: "no"}))
    found, posts = isolated(text, refused, WRITTEN, WRITTEN)
    assert posts == [text, [text[0]], [text[1]]]
    assert list(found.status) == [LineStatus.WRITTEN] * 2


@pytest.mark.parametrize("odd", [b"", b"# m", b'm v="a', b"m v=1 1\\"])
def test_numbers_are_not_believed_where_lines_may_be_counted_otherwise(odd: bytes) -> None:
    text = [*lines(1), odd]
    refused = respond(400, partial(_1="it is the second"))
    found, _ = isolated(text, refused, WRITTEN, refused)
    assert list(found.status) == [LineStatus.WRITTEN, LineStatus.REJECTED]


def window(start_ms: int, end_ms: int) -> dict[bytes, bytes]:
    """Its bounds, as fields of an entry."""
    return {b"start_ms": b"%d" % start_ms, b"end_ms": b"%d" % end_ms}


@pytest.mark.parametrize(
    ("of_window", "first_days"),
    [({"fields": window(old(9), NOW_MS)}, 0), ({"window_id": PUSHED}, 5), ({"fields": {}}, 0)],
    ids=["a long one", "pushed", "an older version's"],
)
def test_old_lines_behind_young_ones_are_dropped_where_the_sink_would_forget_them(
    of_window: dict[str, Any], first_days: float
) -> None:
    bench = Bench()
    bench.sink.silent_retention = 6.0 * DAY_SECONDS
    text = [*lines(20, at_ms=old(first_days)), *lines(5, "late", at_ms=old(7)), *lines(5, "x")]
    (verdict,) = bench.handle(entry("1", text, **of_window))
    assert (verdict.loaded, verdict.drops) == (25, {"beyond_retention": 5})  # type: ignore[union-attr]
    assert bench.points == 25


def test_an_entry_of_a_young_window_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.sink.silent_retention = float(DAY_SECONDS)
    monkeypatch.setattr("services.loader.payload.inflate", None)
    young = entry("1", lines(5), kind="expr", fields=window(old(0.9), NOW_MS), digest="0" * 32)
    assert bench.handle(young) == [Settle(loaded=5)]


def test_a_sink_that_keeps_for_ever_gets_payloads_as_they_are() -> None:
    bench = Bench()
    bench.sink.silent_retention = inf
    one = entry("1", [*lines(20), *lines(5, at_ms=old(900))])
    bench.handle(one)
    assert bench.points == 25
    assert len(bench.sink.bodies) == 1


def test_a_database_that_keeps_less_than_an_hour_has_no_clock_that_is_wrong() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=DAY_SECONDS)})
    bench.sink.silent_retention = 600.0
    text = lines(3, at_ms=NOW_MS - 1_200_000) + lines(5)
    assert bench.handle(entry("1", text)) == [Settle(loaded=5, drops={"beyond_retention": 3})]
    assert bench.metric("etl_sink_paused") == 0


def test_a_proxy_that_lets_no_ping_through_is_asked_once_for_each_probe() -> None:
    def answer(to: Handler) -> None:
        reply(b"", 403 if to.path == "/ping" else 204)(to)

    with AnsweringServer(answer) as server:
        sink = InfluxSink(load_settings(server.url).influxdb, connections=1)
        for asked in (1, 2):
            for _ in range(3):
                assert sink.silent_retention_seconds(BUCKET) is None
                assert sink.write(BUCKET, payload(lines(1))).kind is Kind.WRITTEN
            assert [one.path for one in server.requests].count("/ping") == asked
            sink.probe(BUCKET)
        sink.close()
