"""Faults of the sink, and of the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from email.utils import formatdate

import requests

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.load import FRESH, ODD
from devtools.chaos.rig import PACE, Rig
from devtools.chaos.rules import Action, Rule

WRITE = "/api/v2/write"
AWAY_INTERVALS = 20
# Compressed; a post of one window of a load feed has several times as many.
LARGEST_BODY_BYTES = 20_000
SLOW_SECONDS = 5.0
REFUSES_ALL_SECONDS = (2.0, 10.0)
FRESH_SERIES = 200
FRESH_SCRAPES = 8


def kill(context: FaultContext, times: int) -> int:
    """kill -9 of influxd, or of it and the server before it."""
    influx = context.rig.stack.influx
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        if context.rng.random() < 0.5:
            influx.influxd.kill()
        else:
            influx.kill()
        context.apart(longest_seconds=1.0)
        influx.start()
    return times


def away(context: FaultContext, times: int) -> int:
    """Down for twenty intervals."""
    influx = context.rig.stack.influx
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        influx.kill()
        context.rig.pause(AWAY_INTERVALS * PACE.interval_seconds)
        influx.start()
    return times


def posts_hurt(
    make: Callable[[FaultContext, int], Rule], action: Action, largest_burst: int = 6
) -> Callable[[FaultContext, int], int]:
    """Hurt single posts, or several in a row; ``make`` gives the rule for so many of them."""

    def fire(context: FaultContext, times: int) -> int:
        rig, rng = context.rig, context.rng
        before = rig.proxies.hits("influxdb", action)
        done = 0
        while done < times:
            burst = rng.randint(1, min(largest_burst, times - done))
            rig.proxies.rule("influxdb", make(context, burst))
            rig.until(lambda: not rig.proxies.left("influxdb"), "posts meet a fault")
            done += burst
            context.apart(longest_seconds=0.5)
        return rig.proxies.hits("influxdb", action) - before

    return fire


def _answer(status: int, **headers: str) -> Callable[[FaultContext, int], Rule]:
    body = f'{{"code":"fault","message":"status {status} on purpose"}}'

    def make(context: FaultContext, burst: int) -> Rule:
        return Rule(
            "answer", burst, WRITE, min_body_bytes=1, status=status, headers=headers, body=body
        )

    return make


def _retry_after(context: FaultContext, burst: int) -> Rule:
    seconds = context.rng.randint(1, 2)
    now = time.time()
    text = str(seconds) if context.rng.random() < 0.5 else formatdate(now + seconds, usegmt=True)
    headers = {"Retry-After": text, "Date": formatdate(now, usegmt=True)}
    return Rule("answer", burst, WRITE, min_body_bytes=1, status=429, headers=headers)


def _reset_body(context: FaultContext, burst: int) -> Rule:
    return Rule("reset_body", burst, WRITE, min_body_bytes=1, share=context.rng.random())


def _lose_answer(context: FaultContext, burst: int) -> Rule:
    return Rule("lose_answer", burst, WRITE, min_body_bytes=1)


def _slow(context: FaultContext, burst: int) -> Rule:
    return Rule("slow", burst, WRITE, min_body_bytes=1, seconds=SLOW_SECONDS)


def _too_large(context: FaultContext, burst: int) -> Rule:
    body = '{"code":"request too large","message":"request body too large"}'
    return Rule("answer", burst, WRITE, min_body_bytes=LARGEST_BODY_BYTES, status=413, body=body)


def _dripping(context: FaultContext, burst: int) -> Rule:
    share = context.rng.choice((0.0, 0.1, 0.3))
    return Rule("drip", burst, WRITE, min_body_bytes=1, share=share)


def _endless(context: FaultContext, burst: int) -> Rule:
    body = '{"code":"internal error","message":"'
    status = context.rng.choice((500, 502))
    return Rule("endless", burst, WRITE, min_body_bytes=1, status=status, body=body)


def token_refused(context: FaultContext, times: int) -> int:
    """Every write is answered 401, until somebody repairs the token."""
    rig, rng = context.rig, context.rng
    for _ in range(times):
        before = rig.proxies.hits("influxdb", "answer")
        body = '{"code":"unauthorized","message":"unauthorized access"}'
        rig.proxies.rule("influxdb", Rule("answer", None, WRITE, status=401, body=body))
        wanted = before + rng.randint(1, 4)
        rig.until(
            lambda wanted=wanted: rig.proxies.hits("influxdb", "answer") >= wanted,  # type: ignore[misc]
            "the sink refuses a loader",
        )
        rig.proxies.send("influxdb", "clear")
        context.apart(longest_seconds=0.5)
    return times


def refuses_all(context: FaultContext, times: int) -> int:
    """Every write is answered 400 in words that name nothing, for some seconds.

    Sometimes a bad point comes with it: that one is a dead letter, and no good one.
    """
    rig, rng = context.rig, context.rng
    context.oracle.make_room_for_letters()
    body = '{"code":"invalid","message":"the request was not accepted"}'
    for _ in range(times):
        if rng.random() < 0.5:
            _send_bad_point(rig)
            context.apart(longest_seconds=2.0)
        before = rig.proxies.hits("influxdb", "answer")
        # With a bound of one byte the empty body of a readiness check is taken.
        rig.proxies.rule(
            "influxdb",
            Rule("answer", None, WRITE, min_body_bytes=rng.randint(0, 1), status=400, body=body),
        )
        rig.until(
            lambda before=before: rig.proxies.hits("influxdb", "answer") > before,  # type: ignore[misc]
            "the sink refuses a post",
        )
        context.apart(*REFUSES_ALL_SECONDS)
        rig.proxies.send("influxdb", "clear")
        context.apart(longest_seconds=1.0)
    return times


def bad_point(context: FaultContext, times: int) -> int:
    """A sample of a measurement whose field is an integer already, among thousands of good ones."""
    rig = context.rig
    context.oracle.make_room_for_letters()
    for _ in range(times):
        _send_bad_point(rig)
        # Not all of them in one window.
        context.apart(0.5, 2.5)
    return times


def _send_bad_point(rig: Rig) -> None:
    write_integers(rig, rig.exporter.upcoming(ODD, 1))
    rig.exporter.invite(ODD, 1, scrapes=1)


def write_integers(rig: Rig, measurements: Sequence[str]) -> None:
    """Give measurements a field of a type that none of our points has: those will be refused."""
    bucket = rig.settings.load.influxdb.bucket
    response = requests.post(
        f"{rig.stack.influx.direct_url}/write",
        params={"db": bucket, "precision": "ms"},
        data="\n".join(f"{name} value=1i {int(time.time() * 1000)}" for name in measurements),
        timeout=10,
    )
    if response.status_code != 204:
        raise StackError(f"influxd refuses the integer that makes a conflict: {response.text}")


def series_limit(context: FaultContext, times: int) -> int:
    """influxd takes no new series while some appear; then the limit is lifted."""
    rig = context.rig
    influxd = rig.stack.influx.influxd
    for _ in range(times):
        pauses = rig.journal.counts()["loader", "sink_paused:capacity"]
        rig.influx_limits["max-series-per-database"] = 1
        influxd.restart()
        rig.exporter.invite(FRESH, FRESH_SERIES, scrapes=FRESH_SCRAPES)
        rig.until(
            lambda pauses=pauses: rig.journal.counts()["loader", "sink_paused:capacity"] > pauses,  # type: ignore[misc]
            "a loader holds because of the series limit",
        )
        context.apart(0.5, 2.0)
        rig.influx_limits["max-series-per-database"] = 0
        influxd.restart()
    return times


_FAILED = (("loader", "sink_failed"),)

KINDS = (
    Kind("influx_kill", "kill -9 of influxd", kill, batch=7, expected_events=_FAILED),
    Kind(
        "influx_away",
        f"InfluxDB away for {AWAY_INTERVALS} intervals",
        away,
        batch=1,
        expected_events=(
            ("loader", "sink_circuit_changed:open"),
            ("extractor", "back_pressure_on"),
        ),
        slow=f"each lasts {AWAY_INTERVALS} intervals",
    ),
    Kind(
        "sink_500",
        "posts answered 500, up to six in a row",
        posts_hurt(_answer(500), "answer"),
        batch=10,
        expected_events=(("loader", "sink_failed:server_error"),),
    ),
    Kind(
        "sink_503",
        "posts answered 503",
        posts_hurt(_answer(503), "answer"),
        batch=10,
        expected_events=(("loader", "sink_failed:busy"),),
    ),
    Kind(
        "sink_429",
        "posts answered 429 with Retry-After, in seconds or as a date",
        posts_hurt(_retry_after, "answer", largest_burst=3),
        batch=10,
        expected_events=(("loader", "sink_retry_after"),),
    ),
    Kind(
        "sink_reset_body",
        "the connection reset in the middle of a post's body",
        posts_hurt(_reset_body, "reset_body"),
        batch=10,
        expected_events=(("loader", "sink_failed:reset"),),
    ),
    Kind(
        "sink_answer_lost",
        "a post is written, its 204 lost on the way back",
        posts_hurt(_lose_answer, "lose_answer"),
        batch=10,
        expected_events=(("loader", "sink_failed:reset"),),
    ),
    Kind(
        "sink_slow",
        f"posts that take {SLOW_SECONDS:g} s, longer than the loader waits, and are written then",
        posts_hurt(_slow, "slow"),
        batch=10,
        expected_events=(("loader", "sink_failed:timeout"),),
    ),
    Kind(
        "bad_point",
        "one point with a field of another type among some ten thousand",
        bad_point,
        batch=5,
        expected_events=(
            ("loader", "sink_refused_points:points"),
            ("loader", "dead_lettered:rejected"),
        ),
    ),
    Kind(
        "sink_413",
        "posts answered 413",
        posts_hurt(_too_large, "answer"),
        batch=10,
        expected_events=(("loader", "sink_refused_points:too_large"),),
    ),
    Kind(
        "sink_401",
        "writes answered 401, then repaired",
        token_refused,
        batch=7,
        expected_events=(("loader", "sink_paused:refused"), ("loader", "sink_resumed")),
    ),
    Kind(
        "sink_refuses_all",
        "every write answered 400 with words that name nothing, for {:g} to {:g} s".format(
            *REFUSES_ALL_SECONDS
        ),
        refuses_all,
        batch=5,
        expected_events=(("loader", "sink_paused:refuses_all"), ("loader", "sink_resumed")),
    ),
    Kind(
        "sink_drip",
        "a post is written, and its answer arrives byte by byte",
        posts_hurt(_dripping, "drip", largest_burst=3),
        batch=10,
        expected_events=(("loader", "sink_failed:timeout"),),
    ),
    Kind(
        "sink_endless",
        "posts answered by an error whose text has no end",
        posts_hurt(_endless, "endless", largest_burst=3),
        batch=10,
        expected_events=(("loader", "sink_failed:server_error"),),
    ),
    Kind(
        "series_limit",
        "max-series-per-database reached while new series appear, then lifted",
        series_limit,
        batch=1,
        expected_events=(("loader", "sink_paused:capacity"),),
        slow="each restarts influxd twice",
    ),
)
