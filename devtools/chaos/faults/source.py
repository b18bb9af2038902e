"""Faults of Prometheus, and of the way to it."""

from __future__ import annotations

import json
from collections.abc import Callable

from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.rules import Rule

API = "/api/v1/query"
# Planning asks for the time; what is to be hurt are reads of windows.
TIME = "time%28%29"


def away(context: FaultContext, times: int) -> int:
    """Extractors find nobody listening; Prometheus itself goes on scraping."""
    proxies = context.rig.proxies
    for _ in range(times):
        context.apart(longest_seconds=0.8)
        proxies.send("prometheus", "refuse")
        context.apart(0.2, 2.0)
        proxies.send("prometheus", "listen")
    return times


def kill(context: FaultContext, times: int) -> int:
    """kill -9 of Prometheus; it reads its write-ahead log again before it answers."""
    prometheus = context.rig.stack.prometheus
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        prometheus.kill()
        context.apart(0.5, 3.0)
        prometheus.start(wait=False)
        prometheus.wait_ready(120.0)
    return times


def hurt_responses(make: Callable[[FaultContext, int], Rule]) -> Callable[[FaultContext, int], int]:
    """Hurt single responses, or several in a row."""

    def fire(context: FaultContext, times: int) -> int:
        rig, rng = context.rig, context.rng
        done = 0
        while done < times:
            burst = rng.randint(1, min(5, times - done))
            rig.proxies.rule("prometheus", make(context, burst))
            rig.until(lambda: not rig.proxies.left("prometheus"), "responses meet a fault")
            done += burst
            context.apart(longest_seconds=0.5)
        return done

    return fire


def _truncated(context: FaultContext, burst: int) -> Rule:
    action = context.rng.choice(("truncate", "cut_answer"))
    return Rule(action, burst, API, TIME, share=context.rng.random())  # type: ignore[arg-type]


def _unavailable(context: FaultContext, burst: int) -> Rule:
    body = context.rng.choice(
        (
            "Service Unavailable",
            "<html><body><h1>503 Service Unavailable</h1></body></html>",
            '{"status":"error","errorType":"unavailable","error":"on purpose"}',
        )
    )
    return Rule("answer", burst, API, TIME, status=503, body=body)


def _dripping(context: FaultContext, burst: int) -> Rule:
    # Of a small response that is somewhere in its head, of a large one in its body.
    return Rule("drip", burst, API, TIME, share=context.rng.choice((0.0, 0.02, 0.2, 0.5)))


def too_large(context: FaultContext, times: int) -> int:
    """Windows that grew while Prometheus was away are too large for it; it says so in two ways."""
    rig, rng = context.rig, context.rng
    done = 0
    while done < times:
        rig.proxies.send("prometheus", "refuse")
        # More than a planning interval: a window of one step could not be split.
        context.apart(4.5, 6.5)
        burst = rng.randint(1, min(5, times - done))
        status, kind, text = rng.choice(
            (
                (
                    422,
                    "execution",
                    "query processing would load too many samples into memory in query execution",
                ),
                (503, "timeout", "query timed out in expression evaluation"),
            )
        )
        body = json.dumps({"status": "error", "errorType": kind, "error": text})
        rig.proxies.rule("prometheus", Rule("answer", burst, API, TIME, status=status, body=body))
        rig.proxies.send("prometheus", "listen")
        rig.until(lambda: not rig.proxies.left("prometheus"), "windows meet a limit")
        done += burst
    return times


def _endless(context: FaultContext, burst: int) -> Rule:
    good = '{"status":"success","data":{"resultType":"matrix","result":['
    series = '{"metric":{"__name__":"endless"},"values":[[1700000000.5,"1"],[1700000015.5,"2.5"]]}'
    status, body, more = context.rng.choice(
        (
            (503, '{"status":"error","errorType":"unavailable","error":"', " "),
            (500, "<html><body>", " "),
            (200, good + series, f",{series}"),
            (200, good, " "),
        )
    )
    return Rule("endless", burst, API, TIME, status=status, body=body, more=more)


def clock_ahead(context: FaultContext, times: int) -> int:
    """A querier whose clock is ahead answers some of the questions for the time."""
    rig, rng = context.rig, context.rng
    done = 0
    while done < times:
        burst = rng.randint(1, min(3, times - done))
        seconds = rig.now_ms() / 1000
        wrong = seconds + rng.uniform(20.0, 120.0)
        result = {"resultType": "scalar", "result": [seconds, str(wrong)]}
        body = json.dumps({"status": "success", "data": result})
        rig.proxies.rule(
            "prometheus", Rule("answer", burst, f"{API}?query={TIME}", status=200, body=body)
        )
        rig.until(lambda: not rig.proxies.left("prometheus"), "questions for the time")
        done += burst
        context.apart(longest_seconds=0.5)
    return done


KINDS = (
    Kind(
        "prometheus_away",
        "Prometheus refuses connections",
        away,
        batch=10,
        expected_events=(("extractor", "query_failed:SourceUnavailable"),),
    ),
    Kind(
        "prometheus_kill",
        "kill -9 of Prometheus, then started",
        kill,
        batch=1,
        slow="each reads the write-ahead log of the whole run again",
    ),
    Kind(
        "prometheus_truncated",
        "an answer that ends in the middle, framed as if it were whole, or cut off",
        hurt_responses(_truncated),
        batch=10,
        expected_events=(("extractor", "query_failed:SourceUnavailable"),),
    ),
    Kind(
        "prometheus_503",
        "responses of 503, with bodies of several kinds",
        hurt_responses(_unavailable),
        batch=10,
        expected_events=(("extractor", "query_failed:SourceUnavailable"),),
    ),
    Kind(
        "prometheus_too_large",
        "responses that a query is too large or took too long, after windows grew in an outage",
        too_large,
        batch=10,
        expected_events=(("extractor", "window_split"),),
    ),
    Kind(
        "prometheus_drip",
        "responses that come byte by byte, from their head or from their body on",
        hurt_responses(_dripping),
        batch=10,
        expected_events=(("extractor", "window_split"),),
    ),
    Kind(
        "prometheus_endless",
        "errors whose text, and good responses whose series, have no end",
        hurt_responses(_endless),
        batch=10,
        expected_events=(
            ("extractor", "query_failed:SourceUnavailable"),
            ("extractor", "window_split"),
        ),
    ),
    Kind(
        "prometheus_clock",
        "a clock that is 20 to 120 s ahead, for some questions",
        clock_ahead,
        batch=10,
        expected_events=(("extractor", "source_clock_jumped"),),
    ),
)
