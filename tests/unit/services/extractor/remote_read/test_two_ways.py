"""Which way a window is read, and what a doubt leads to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from common.config import Query
from common.errors import SourceUnavailable
from common.samples.columns import Samples
from common.source.remote_read import choice
from common.source.remote_read.choice import Choice, adds_nothing
from common.source.remote_read.doubt import Doubt, Reason
from services.extractor.history import ServerRun
from services.extractor.remote_read.two_ways import TwoWays

QUERY = Query(name="q", select="x").bound(15, {})
HOUR_MS = 3_600_000
PLAIN = "global:\n  scrape_interval: 15s\nscrape_configs:\n- job_name: external_labels\n"


def config(text: str) -> bytes:
    return json.dumps({"status": "success", "data": {"yaml": text}}).encode()


def block(series: int, samples: int) -> Samples:
    labels = tuple(f'{{"n":"{number}"}}'.encode() for number in range(series))
    times_ms = np.tile(np.arange(samples) + 1, series)
    return Samples(labels, np.full(series, samples), times_ms, np.ones(series * samples))


class World:
    """A server with a given number of samples an hour in each series."""

    def __init__(self, series: int = 500, samples: int = 240) -> None:
        self.whole = block(series, samples)
        self.reads: list[str] = []
        self.doubts: list[str] = []
        self.run: ServerRun | None = ServerRun("started", "configured", "15d")
        self.config = config(PLAIN)
        self.now = 0.0
        self.fails_with: Reason | None = None
        self.fails_after_blocks = 0
        self.on_read: Callable[[], object] = lambda: None
        self.ways = TwoWays(
            self._chunks,
            Choice(lambda: self.run, lambda: self.config, lambda: self.now),
            lambda name, doubt: self.doubts.append(f"{name}: {doubt.reason}"),
        )

    def _chunks(self, selector: str, start_ms: int, end_ms: int) -> Iterator[Samples]:
        assert selector == "x"
        self.reads.append("chunks")
        self.on_read()
        if self.fails_with and not self.fails_after_blocks:
            raise Doubt(self.fails_with, "no")
        yield self.whole
        if self.fails_with:
            raise Doubt(self.fails_with, "no")

    def _json(self) -> Iterator[Samples]:
        self.reads.append("json")
        yield self.whole

    def read(self, length_ms: int = HOUR_MS) -> list[Samples]:
        return list(self.ways.read(QUERY, 0, length_ms, self._json))


def test_chunks_are_read_once_it_is_known_what_a_window_holds() -> None:
    world = World()
    for _ in range(3):
        assert world.read() == [world.whole]
    assert world.reads == ["json", "chunks", "chunks"]


@pytest.mark.parametrize(
    ("series", "samples", "length_ms", "way"),
    [
        (500, 240, HOUR_MS, "chunks"),
        (500, 240, HOUR_MS // 4, "json"),  # 60 samples a series
        (50, 240, HOUR_MS, "json"),  # 12,000 samples
        (50, 1000, HOUR_MS, "chunks"),
        (5000, 60, 3 * HOUR_MS, "chunks"),
        (0, 0, HOUR_MS, "json"),
    ],
)
def test_only_windows_with_many_samples(
    series: int, samples: int, length_ms: int, way: str
) -> None:
    world = World(series, samples)
    world.read()
    world.read(length_ms)
    assert world.reads == ["json", way]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (PLAIN, True),
        ("global:\n  scrape_interval: 15s\n  external_labels:\n    a: b\n", False),
        (PLAIN + "remote_read:\n- url: http://b\n", False),
        (PLAIN + "remote_write:\n- url: http://b/remote_read\n", True),
        ("", False),
    ],
)
def test_what_a_configuration_must_not_have(text: str, safe: bool) -> None:
    assert adds_nothing(config(text)) == safe
    world = World()
    world.config = config(text)
    world.read()
    world.read()
    assert world.reads == ["json", "chunks" if safe else "json"]
    assert world.doubts == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data":{"yaml":3}}', b"global:\n"])
def test_what_is_no_configuration_is_not_safe(body: bytes) -> None:
    assert not adds_nothing(body)


def test_a_server_that_does_not_report_its_run_is_asked_again_later() -> None:
    world = World()
    run, world.run = world.run, None
    world.read()
    world.read()
    world.run = run
    world.read()
    assert world.reads == ["json"] * 3
    world.now += choice.UNSAFE_SECONDS + 1
    world.read()
    assert world.reads[3:] == ["chunks"]


def test_a_configuration_that_changed_meanwhile_is_a_doubt() -> None:
    world = World()
    world.read()

    def reload() -> None:
        world.run = ServerRun("started", "again", "15d")
        world.config = config(PLAIN + "remote_read:\n- url: http://b\n")

    world.on_read = reload
    with pytest.raises(Doubt):
        world.read()
    assert world.doubts == ["q: reconfigured"]
    world.now += choice.PASSING_SECONDS + 1
    world.read()
    assert world.reads == ["json", "chunks", "json"]


def test_a_doubt_before_the_first_block_is_a_read_by_json() -> None:
    world = World()
    world.read()
    world.fails_with = "refused"
    assert world.read() == [world.whole]
    assert world.reads == ["json", "chunks", "json"]
    assert world.doubts == ["q: refused"]


def test_a_doubt_after_a_block_asks_to_be_read_again_and_is_by_json() -> None:
    world = World()
    world.read()
    world.fails_with, world.fails_after_blocks = "broken_off", 1
    with pytest.raises(Doubt):
        world.read()
    assert world.read() == [world.whole]
    assert world.reads == ["json", "chunks", "json"]


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [("chunk_type", choice.LASTING_SECONDS), ("broken_off", choice.PASSING_SECONDS)],
)
def test_after_a_doubt_json_is_read_for_a_while(reason: Reason, seconds: float) -> None:
    world = World()
    world.read()
    world.fails_with = reason
    world.read()
    world.fails_with = None
    world.now += seconds - 1
    world.read()
    world.now += 2
    world.read()
    assert world.reads == ["json", "chunks", "json", "json", "chunks"]


def test_a_server_that_is_away_is_no_doubt() -> None:
    world = World()
    world.read()

    def away() -> ServerRun | None:
        raise SourceUnavailable("cannot be reached")

    world.ways.choice.run = away
    with pytest.raises(SourceUnavailable):
        world.read()
    assert world.doubts == []
