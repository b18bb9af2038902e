"""The load handler over any batches and faults: every sample is accounted for once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from common.state.verdict import Entry, Settle
from services.loader.responses import Outcome
from tests.doubles.loading import (
    BUCKET,
    DAY_SECONDS,
    FAILED,
    NOW_MS,
    UNAUTHORIZED,
    Bench,
    asked_to_wait,
    entry,
    old,
)

KINDS = st.sampled_from(["good"] * 12 + ["bad", "old", "long", "conflict"])


@settings(max_examples=80, deadline=None)
@given(
    batches=st.lists(st.lists(st.lists(KINDS, min_size=1, max_size=40), min_size=1, max_size=4),
                     min_size=1, max_size=3),
    messages=st.sampled_from(["own", "none"]),
    connections=st.integers(1, 3),
    group_samples=st.sampled_from([1, 30, 1000]),
    faults=st.lists(st.sampled_from([None, None, None, FAILED, asked_to_wait(1.0), UNAUTHORIZED]),
                    max_size=30),
)  # fmt: skip
def test_whatever_happens_every_sample_is_accounted_for_once(
    batches: list[list[list[str]]],
    messages: str,
    connections: int,
    group_samples: int,
    faults: list[Outcome | None],
) -> None:
    bench = Bench(
        connections=connections, group_samples=group_samples, max_rejected_share=1,
        circuit_open_seconds=1,
    )  # fmt: skip
    engine = bench.engine
    engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    engine.buckets[BUCKET].types["typed", "value"] = "integer"
    engine.max_inflated_bytes = 3000
    if messages == "none":
        engine.say = lambda message: message if "retention" in message else "bad taste"
    bench.sink.script.extend(faults)
    number, wanted, refused = 0, set(), set()
    waiting: list[tuple[Entry, list[tuple[str, bytes]]]] = []
    for batch_number, batch in enumerate(batches):
        for entry_number, kinds in enumerate(batch):
            text = []
            for kind in kinds:
                number += 1
                name = b"x" * 4000 if kind == "long" else b"%d" % number
                at_ms = old(2) if kind == "old" else NOW_MS
                measurement = b"typed" if kind == "conflict" else b"m"
                value = b"oops" if kind == "bad" else b"1.5"
                line = b"%s,n=%s,i=%d value=%s %d" % (measurement, name, number, value, at_ms)
                text.append((kind, line))
                if kind == "good":
                    wanted.add(("m", (("i", str(number)), ("n", str(number))), "value", NOW_MS))
                elif kind != "old":
                    refused.add(line)
            id_ = f"{batch_number}-{entry_number}"
            waiting.append((entry(id_, [line for _, line in text]), text))
    dead_lines: list[bytes] = []
    for _ in range(200):
        if not waiting:
            break
        bench.clock.pass_(40.0)
        if bench.handler.check() is not None:
            continue
        verdicts = bench.handle(*(one for one, _ in waiting))
        still = []
        for (one, text), verdict in zip(waiting, verdicts, strict=True):
            if not isinstance(verdict, Settle):
                still.append((one, text))
                continue
            kinds = [kind for kind, _ in text]
            assert verdict.loaded == kinds.count("good")
            old_lines = [line for kind, line in text if kind == "old"]
            for dead_letter in verdict.dead:
                if dead_letter.reason == "beyond_retention":
                    assert dead_letter.payload.splitlines() == old_lines
                    continue
                dead_lines += dead_letter.payload.splitlines()
        waiting = still
    assert not waiting
    assert set(engine.buckets[BUCKET].points) == wanted
    assert sorted(dead_lines) == sorted(refused)
