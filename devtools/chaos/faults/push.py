"""Faults of what Prometheus pushes, and of the way that it takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.rules import Rule
from devtools.chaos.worlds.by_hand import request_of
from devtools.chaos.worlds.push import PATH, PROXY, USER, PushRig

# What is sent by somebody who is no Prometheus, and how it must be answered: two bytes of a name
# that has none, a promise of 4 GiB, one of three bytes that do not follow.
_BAD_BODIES = (b"\x02\x04\x0a\x00", b"\xff\xff\xff\xff\x0f", b"\x03\x08ab")
_LARGE_BODY = b"\x00" * (5 << 20)
# How long an answer is waited for that a Redis which was stopped keeps waiting.
_NO_REDIS_SECONDS = 3.0


def _rig(context: FaultContext) -> PushRig:
    if not isinstance(context.rig, PushRig):
        raise StackError("nothing is pushed here")
    return context.rig


def away(context: FaultContext, times: int) -> int:
    """Prometheus finds nobody listening, and keeps what it has to send."""
    proxies = _rig(context).proxies
    for _ in range(times):
        context.apart(longest_seconds=0.5)
        proxies.send(PROXY, "refuse")
        context.apart(0.2, 2.0)
        proxies.send(PROXY, "listen")
    return times


def hurt(make: Callable[[FaultContext, int], Rule]) -> Callable[[FaultContext, int], int]:
    """Hurt single requests, or several in a row."""

    def fire(context: FaultContext, times: int) -> int:
        rig, rng = _rig(context), context.rng
        done = 0
        while done < times:
            burst = rng.randint(1, min(5, times - done))
            rig.proxies.rule(PROXY, make(context, burst))
            rig.until(lambda: not rig.proxies.left(PROXY), "pushes meet a fault")
            done += burst
            context.apart(longest_seconds=0.5)
        return done

    return fire


def _lose_answer(context: FaultContext, burst: int) -> Rule:
    return Rule("lose_answer", burst, PATH, min_body_bytes=1)


def _reset_body(context: FaultContext, burst: int) -> Rule:
    return Rule("reset_body", burst, PATH, min_body_bytes=1, share=context.rng.random())


def back_pressure(context: FaultContext, times: int) -> int:
    """The sink is away until extractors tell Prometheus to wait."""
    rig = _rig(context)
    influx = rig.stack.influx
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        before = rig.proxies.answers(PROXY, 429)
        influx.kill()
        rig.until(
            lambda before=before: rig.proxies.answers(PROXY, 429) > before,  # type: ignore[misc]
            "Prometheus is told to wait",
            deadline_seconds=120.0,
        )
        context.apart(longest_seconds=2.0)
        influx.start()
    return times


def without_redis(context: FaultContext, times: int) -> int:
    """Redis is away, in one of several ways, until a sender is told so."""
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        redis_away(context, context.rng.choice(("killed", "stopped", "full")))
    return times


def redis_away(context: FaultContext, how: str) -> None:
    """Redis is killed, stopped (SIGSTOP) or full until a sender is told that nothing was committed.

    None may be told anything else. A full Redis answers what an extractor asks before it commits.
    """
    rig, server = _rig(context), context.rig.stack.redis
    before = rig.proxies.answers(PROXY, 503)
    if how == "killed":
        server.kill()
    elif how == "stopped":
        server.pause()
    else:
        used_bytes = int(rig.redis.info("memory")["used_memory"])
        rig.redis.config_set("maxmemory", used_bytes // 2)
    rig.until(
        lambda: rig.proxies.answers(PROXY, 503) > before,
        "Prometheus is told that nothing was committed",
    )
    if _is_taken(rig, context.rng.choice(rig.push_ports)):
        raise StackError(f"204 was answered while Redis was {how}: nothing can be committed then")
    context.apart(longest_seconds=1.0)
    if how == "killed":
        server.start()
    elif how == "stopped":
        server.resume()
    else:
        rig.redis.config_set("maxmemory", 0)


def _is_taken(rig: PushRig, port: int) -> bool:
    """Whether an extractor says of samples that no pull can have had that they are committed."""
    series = rig.newest(0, rig.now_ms())
    if not series:
        return False
    with suppress(StackError):
        return rig.post(port, request_of(series), timeout_seconds=_NO_REDIS_SECONDS) == 204
    return False


def strangers(context: FaultContext, times: int) -> int:
    """Requests without the password, in another encoding, malformed or too large: all refused."""
    rig = _rig(context)
    for _ in range(times):
        port = context.rng.choice(rig.push_ports)
        bad = context.rng.choice(_BAD_BODIES)
        found = (
            rig.post(port, bad, auth=(USER, "guessed")),
            rig.post(port, bad, headers={}),
            rig.post(port, bad),
            rig.post(port, _LARGE_BODY),
        )
        # Who is told to wait is told so first.
        if found not in ((401, 415, later, 413) for later in (400, 429, 503)):
            raise StackError(f"bad requests were answered {found}")
        context.apart(longest_seconds=0.3)
    return times


KINDS = (
    Kind("push_away", "connections of Prometheus' remote write refused", away, batch=10),
    Kind(
        "push_answer_lost",
        "what was pushed is committed, and the 204 is lost: it is pushed again",
        hurt(_lose_answer),
        batch=10,
    ),
    Kind(
        "push_reset_body",
        "the connection is reset in the middle of what is pushed",
        hurt(_reset_body),
        batch=10,
    ),
    Kind(
        "push_without_redis",
        "Redis killed, stopped (SIGSTOP) or full until a sender got 503; none may get 204",
        without_redis,
        batch=5,
        expected_events=(("extractor", "redis_unavailable"),),
    ),
    Kind(
        "push_strangers",
        "requests without the password, in another encoding, malformed, too large; all refused",
        strangers,
        batch=20,
    ),
    Kind(
        "push_back_pressure",
        "InfluxDB away until a sender got 429",
        back_pressure,
        batch=1,
        slow="each fills Redis up to the high-water mark",
    ),
)
