"""Requests of remote write: what is committed of them, and what the sender is told."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.message import Message
from http import HTTPStatus

import pytest
from redis.exceptions import RedisError

from common.config import Query
from common.errors import SourceUnavailable
from common.runtime.http_server import Request, Response
from common.samples.batch import SampleBatch
from common.state.feeds import Feed
from common.state.pushes import Pushed
from services.extractor.push import native_histogram, receive
from services.extractor.push.receive import Receiver
from services.extractor.source.classic_series import classic_series
from services.extractor.windows import Plan
from tests.support.native_histograms import Native, Points, points
from tests.support.remote_write import (
    HEADERS,
    HEADERS_V2,
    histogram,
    of_bytes,
    request_v2,
    sample,
    series,
    snappy,
)

HEAD_MS = 1_764_468_000_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
UP = {"__name__": "up", "job": "a"}


def plan(name: str) -> Plan:
    query = Query(name=name, select=name)
    return Plan(Feed(name, "hot", "select", "f"), query, 1000, 0, 0, 10**9, 240_000)


class World:
    """A receiver of two queries, and what surrounds it."""

    def __init__(self) -> None:
        self.heads: list[int | None] = [HEAD_MS, None]
        self.result: str | RedisError = "committed"
        self.committed: list[Pushed] = []
        self.external: Mapping[str, str] | SourceUnavailable = {}
        self.refusal: str | None = None
        self.paused = False
        self.now = 100.0
        self.counted: Counter[str] = Counter()
        self.receiver = Receiver(
            [plan("up"), plan("down")],
            heads_ms=lambda plans: self.heads,
            commit=self._commit,
            external_labels=self._external,
            refusal=lambda: self.refusal,
            paused=lambda: self.paused,
            count=lambda pushed, outcomes: self.counted.update(outcomes),
            clock=lambda: self.now,
        )
        assert self.receiver.learn_external_labels()

    def _commit(self, pushed: Sequence[Pushed]) -> str:
        if isinstance(self.result, RedisError):
            raise self.result
        if self.result == "committed":
            self.committed += pushed
        return self.result

    def _external(self) -> Mapping[str, str]:
        if isinstance(self.external, SourceUnavailable):
            raise self.external
        return self.external

    def post(self, *all_series: bytes, **headers: str) -> Response:
        return self.post_raw(snappy(b"".join(all_series)), **headers)

    def post_raw(self, body: bytes, **headers: str) -> Response:
        message = Message()
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        for name, text in {**HEADERS, **given}.items():
            message[name] = text
        return self.receiver.page(Request("127.0.0.1", "", message, body))


@pytest.fixture
def world() -> World:
    return World()


def test_samples_behind_the_head_are_committed(world: World) -> None:
    later = [sample(HEAD_MS + ms, float(ms)) for ms in (1, 1001)]

    response = world.post(series(UP, [sample(HEAD_MS, 9.0), *later]))

    assert (response.status, response.body) == (HTTPStatus.NO_CONTENT, b"")
    (pushed,) = world.committed
    assert (pushed.feed.name, pushed.samples, pushed.dropped) == ("up@hot", 2, {})
    batch = SampleBatch.decode(pushed.payload)
    assert (batch.origin.query, batch.origin.tier, batch.origin.window_id) == ("up", "hot", "push")
    assert batch.samples.series == (b'{"__name__":"up","job":"a"}',)
    assert batch.samples.timestamps_ms.tolist() == [HEAD_MS + 1, HEAD_MS + 1001]
    assert batch.samples.values.tolist() == [1.0, 1001.0]
    assert +world.counted == {"late": 1, "committed": 2}


def test_each_sample_has_an_outcome(world: World) -> None:
    world.post(
        series({"__name__": "other"}, [sample(HEAD_MS + 1, 1.0), histogram(HEAD_MS + 1, 3)]),
        series({"__name__": "down"}, [sample(HEAD_MS + 1, 1.0)]),
        series(UP, [sample(HEAD_MS + 1, STALE), sample(HEAD_MS + 2, 1.0)]),
        series(UP, [histogram(HEAD_MS + 1, 3)]),
    )

    assert +world.counted == {
        "unselected": 2,
        "unplanned": 1,
        "stale_marker": 1,
        "native_histogram": 1,
        "committed": 1,
    }
    (pushed,) = world.committed
    assert (pushed.samples, pushed.dropped) == (1, {"stale_marker": 1, "native_histogram": 1})


@pytest.fixture
def carrying(world: World) -> World:
    """With ``native_histograms: classic``."""
    (of_up, _) = world.receiver.plans
    query = of_up.query.model_copy(update={"native_histograms": "classic"})
    world.receiver.plans = [replace(of_up, query=query), plan("down")]
    return world


def points_of(world: World) -> Points:
    found: Points = {}
    for one in world.committed:
        for labels, values in points(SampleBatch.decode(one.payload).samples).items():
            found.setdefault(labels, []).extend(values)
    return found


def test_histograms_are_carried_as_the_pull_carries_them(carrying: World) -> None:
    texts = [(HEAD_MS + 2, json.dumps(Native(3, 1.5, positive={1: 2}).shown()).encode())]
    whole = Native(3, 1.5, positive={1: 2})
    bad = Native(schema=99)

    response = carrying.post(
        series(UP, [sample(HEAD_MS + 1, 1.0), whole.sent(HEAD_MS), whole.sent(HEAD_MS + 2)]),
        series(UP, [bad.sent(HEAD_MS), bad.sent(HEAD_MS + 2), sample(HEAD_MS + 3, STALE)]),
        series({"__name__": "other"}, [whole.sent(HEAD_MS + 2)]),
    )

    assert response.status == HTTPStatus.NO_CONTENT
    (pushed,) = carrying.committed
    # Count, sum, two bounds, and +Inf.
    assert (pushed.samples, pushed.dropped) == (6, {"stale_marker": 1, "native_histogram": 1})
    origin = SampleBatch.decode(pushed.payload).origin
    assert (origin.start_ms, origin.end_ms) == (HEAD_MS, HEAD_MS + 2)
    float_ms = [(HEAD_MS + 1, struct.pack("<d", 1.0))]
    assert points_of(carrying) == {
        **points(classic_series(UP, texts)),
        tuple(UP.items()): float_ms,
    }
    dropped = {"stale_marker": 1, "native_histogram": 1}
    assert +carrying.counted == {"committed": 6, "late": 2, "unselected": 1, **dropped}


def test_what_is_carried_is_spread_over_entries(
    carrying: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "MOST_SAMPLES", 8)
    sent = [Native(3, 1.5, positive={1: 2}).sent(HEAD_MS + ms) for ms in range(1, 4)]

    carrying.post(series(UP, [sample(HEAD_MS + 1, STALE), *sent]), series(UP | {"n": "2"}, sent))

    assert sum(one.samples for one in carrying.committed) == 2 * 3 * 5
    assert max(one.samples for one in carrying.committed) <= 8
    assert [dict(one.dropped) for one in carrying.committed if one.dropped] == [{"stale_marker": 1}]
    assert sum(map(len, points_of(carrying).values())) == 2 * 3 * 5


def test_all_feeds_of_a_request_have_one_limit(
    carrying: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_histogram, "MOST_CARRIED_BYTES", 5000)
    of_up, _ = carrying.receiver.plans
    sent = series(UP, [Native(3, 1.5, positive={1: 2}).sent(HEAD_MS + 1)])
    assert carrying.post(sent).status == HTTPStatus.NO_CONTENT

    carrying.heads = [HEAD_MS, HEAD_MS]
    twice = replace(carrying.receiver, plans=[of_up, of_up])
    assert twice.learn_external_labels()
    carrying.receiver = twice
    response = carrying.post(sent)

    assert response.status == HTTPStatus.BAD_REQUEST
    assert b"become more than 5000 bytes" in response.body
    assert len(carrying.committed) == 1


def test_a_sender_of_2_0_is_told_which_histograms_are_written(carrying: World) -> None:
    whole = Native(3, 1.5, positive={1: 2})
    parts = [whole.sent(HEAD_MS + ms, 3) for ms in (0, 1)] + [histogram(HEAD_MS + 1, 3, field=3)]
    bad = Native(schema=99).sent(HEAD_MS + 2, 3)
    body = request_v2((UP, [*parts, bad]), ({"__name__": "other"}, parts))

    answer = carrying.post_raw(snappy(body), **HEADERS_V2)

    assert answer.headers == written(0) | {"X-Prometheus-Remote-Write-Histograms-Written": "6"}


def test_more_series_of_histograms_than_may_be_idle_are_no_series_without_samples(
    world: World,
) -> None:
    many = [series(UP | {"n": str(n)}, [histogram(HEAD_MS + 1, 3)]) for n in range(100)]
    world.post(series(UP, [sample(HEAD_MS + 1, 1.0)]), *many)

    (pushed,) = world.committed
    assert len(SampleBatch.decode(pushed.payload).samples.series) == 1
    assert dict(pushed.dropped) == {"native_histogram": 100}


def test_a_histogram_that_cannot_be_read_is_400_where_it_is_carried(carrying: World) -> None:
    damaged = series(UP, [sample(HEAD_MS + 1, 1.0), of_bytes(4, b"\x0a\x05")])

    response = carrying.post(damaged)

    assert response.status == HTTPStatus.BAD_REQUEST
    assert b"no message of native histograms" in response.body
    assert not carrying.committed


def test_what_is_only_dropped_is_counted_in_the_ledger_too(world: World) -> None:
    world.post(series(UP, [sample(HEAD_MS + 1, STALE)]))

    (pushed,) = world.committed
    assert (pushed.payload, pushed.samples, pushed.dropped) == (b"", 0, {"stale_marker": 1})


def test_other_nan_is_a_sample(world: World) -> None:
    world.post(series(UP, [sample(HEAD_MS + 1, float("nan"))]))

    assert +world.counted == {"committed": 1}


def test_nothing_to_commit_is_nothing_to_ask_redis_for(world: World) -> None:
    world.result = RedisError("away")

    assert world.post(series({"__name__": "other"}, [])).status == HTTPStatus.NO_CONTENT
    assert world.post().status == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content_Encoding": "gzip"}, b"'gzip': it must be snappy"),
        ({"Content_Type": "application/json"}, b"remote write 1.0 and 2.0 are taken"),
        (
            {"Content_Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
            b"remote write 1.0 and 2.0 are taken",
        ),
    ],
)
def test_what_is_not_remote_write_is_another_type(
    world: World, headers: dict[str, str], why: bytes
) -> None:
    response = world.post_raw(snappy(b""), **headers)

    assert response.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert why in response.body


def test_the_message_is_the_one_that_the_content_type_names(world: World) -> None:
    samples = [sample(HEAD_MS + 1, 1.0), sample(HEAD_MS + 2, STALE)]
    named = "application/x-protobuf; proto=prometheus.WriteRequest"

    of_1_0 = world.post(series(UP, samples), Content_Type=named)
    parts = [*samples, histogram(HEAD_MS + 1, 3, field=3)]
    body = snappy(request_v2((UP, parts), ({"__name__": "other"}, samples)))
    of_2_0 = world.post_raw(body, **HEADERS_V2)

    assert (of_1_0.status, of_1_0.headers) == (HTTPStatus.NO_CONTENT, {})
    assert of_2_0.status == HTTPStatus.NO_CONTENT
    assert of_2_0.headers == written(4)
    first, second = world.committed
    assert first.payload == second.payload
    assert (second.samples, second.dropped) == (1, {"stale_marker": 1, "native_histogram": 1})


def test_a_sender_of_2_0_is_told_that_nothing_was_written(world: World) -> None:
    body = snappy(request_v2((UP, [sample(HEAD_MS + 1, 1.0)])))

    damaged = world.post_raw(body[:-1], **HEADERS_V2)
    world.paused = True
    paused = world.post_raw(body, **HEADERS_V2)

    assert (damaged.status, damaged.headers) == (HTTPStatus.BAD_REQUEST, written(0))
    assert paused.status == HTTPStatus.TOO_MANY_REQUESTS
    assert paused.headers == written(0) | {"Retry-After": "5"}
    assert not world.committed


def written(samples: int) -> dict[str, str]:
    counts = {"Samples": samples, "Histograms": 0, "Exemplars": 0}
    return {f"X-Prometheus-Remote-Write-{what}-Written": str(n) for what, n in counts.items()}


def test_a_bad_request_is_refused_whole(world: World) -> None:
    good = series(UP, [sample(HEAD_MS + 1, 1.0)])

    for body in (snappy(good)[:-1], snappy(good + b"\x0a"), snappy(good + series({}, []))):
        response = world.post_raw(body)
        assert response.status == HTTPStatus.BAD_REQUEST
        assert b"error" in response.body
    assert not world.committed
    assert not world.counted


def test_back_pressure_is_429(world: World) -> None:
    world.paused = True

    response = world.post(series(UP, [sample(HEAD_MS + 1, 1.0)]))

    assert response.status == HTTPStatus.TOO_MANY_REQUESTS
    assert int(response.headers["Retry-After"]) > 0
    assert not world.committed


def _redis_away(world: World) -> None:
    world.result = RedisError("away")


def _never_learned(world: World) -> None:
    world.receiver = replace(world.receiver)
    world.external = SourceUnavailable("away")
    assert not world.receiver.learn_external_labels()


def _not_ours(world: World) -> None:
    world.refusal = "away: the namespace is another pipeline's"


@pytest.mark.parametrize("break_it", [_redis_away, _never_learned, _not_ours])
def test_what_may_pass_is_503(world: World, break_it: Callable[[World], None]) -> None:
    break_it(world)

    response = world.post(series(UP, [sample(HEAD_MS + 1, 1.0)]))

    assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"away" in response.body or b"not known yet" in response.body
    assert not world.committed
    assert not world.counted


def test_a_commit_that_is_refused_has_heads_read_anew(world: World) -> None:
    world.result = "refused"
    assert world.post(series(UP, [sample(HEAD_MS + 1, 1.0)])).status == 503

    world.result, world.heads = "committed", [None, None]
    assert world.post(series(UP, [sample(HEAD_MS + 1, 1.0)])).status == 204
    assert +world.counted == {"unplanned": 1}


def test_external_labels_outlive_a_source_that_is_away(world: World) -> None:
    world.external = {"job": "a"}
    assert world.receiver.learn_external_labels()
    world.post(series(UP, [sample(HEAD_MS + 1, 1.0)]))
    world.external = SourceUnavailable("away")
    assert world.receiver.learn_external_labels()

    assert world.post(series(UP, [sample(HEAD_MS + 1, 1.0)])).status == 204
    assert {SampleBatch.decode(one.payload).samples.series for one in world.committed} == {
        (b'{"__name__":"up"}',)
    }
