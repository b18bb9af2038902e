"""``etlctl tap`` beside a pipeline at work: it shows what flows, and changes nothing."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import yaml

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.keys import GROUP, POINTS, RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from common.state.verdict import Output, Settle
from common.state.windows import Feed, WindowSet
from devtools import PROJECT_ROOT
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from etlctl.tap.flow import Flow

WAIT_SECONDS = 60.0
FEED = Feed("up", "hot", "select", "f1")
SAMPLES = Samples(
    (b'{"__name__":"up","job":"a"}', b'{"__name__":"up","job":"b\\u001b"}'),
    np.array([2, 1]),
    np.array([60_000, 75_000, 60_000]),
    np.array([1.0, float("nan"), 0.5]),
)
LINES = b"up,job=a value=1 60000\nup,job=a value=2 75000\n"


class World:
    """A pipeline in Redis that tests move samples through."""

    def __init__(self, client: redis.Redis, server: RedisServer, namespace: str, tmp: Path) -> None:
        self.redis, self.keys = client, Keys(namespace)
        self.windows = WindowSet(client, self.keys)
        self.head_ms = 0
        self.config = tmp / "etl.yaml"
        document = {
            "extract": {
                "prometheus_url": "http://127.0.0.1:9",
                "queries": [{"name": "up", "select": "up"}, {"name": "other", "select": "x"}],
            },
            "load": {"influxdb": {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b"}},
            "pipeline": {"redis_url": server.plain_url, "redis_namespace": namespace},
        }
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def extract(self, payload: bytes | None = None, samples: int = 3) -> None:
        self.head_ms += 60_000
        self.windows.plan(FEED, 0, self.head_ms)
        window = self.windows.lease(FEED, "live", 10**12, 60_000)
        assert window is not None
        origin = Origin("up", "select", "hot", window.id, window.start_ms, window.end_ms)
        body = SampleBatch(origin, SAMPLES).encode() if payload is None else payload
        staged = self.windows.stage(body, samples, 60)
        assert self.windows.commit(FEED, window, [staged]) == "committed"

    def stream(self, name: str) -> RedisStream:
        made = RedisStream(
            self.redis, self.keys, name, "worker", outbound=POINTS if name == RAW else None
        )
        made.ensure()
        return made

    def transform(self) -> None:
        stream = self.stream(RAW)
        (entry,) = stream.read(1, 1.0)
        verdict = Settle(outputs=[Output(gzip.compress(LINES), 2)], drops={"nan": 1})
        stream.settle(entry, verdict, "transformer")

    def state(self) -> Any:
        """All that a reader could have changed."""
        keys = self.redis.keys(f"{self.keys.namespace}:*")
        pending = [self.redis.xpending(self.keys.stream(name), GROUP) for name in (RAW, POINTS)]
        dumps = [(key, self.redis.dump(key)) for key in sorted(keys)]
        return Ledger(self.redis, self.keys).audit().accounts, pending, dumps

    @contextmanager
    def tap(self, *arguments: str) -> Iterator[Tap]:
        """The command, once it waits for what flows."""
        with Tap(self.config, *arguments) as tap:
            wait_until(
                lambda: any(
                    one["cmd"] == "xread" for one in self.redis.client_list() if "b" in one["flags"]
                ),
                deadline_seconds=WAIT_SECONDS,
                what="tap waits",
            )
            yield tap


class Tap:
    """The command as a process, and the lines that it has printed."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.out: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etlctl", "tap", *arguments, "--config", str(config)],
            cwd=PROJECT_ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("ETL")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.out.extend(iter(self.process.stdout.readline, ""))

    def __enter__(self) -> Tap:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def until(self, lines: int) -> None:
        wait_until(
            lambda: len(self.out) >= lines, deadline_seconds=WAIT_SECONDS, what=f"{lines} lines"
        )

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Wait for the end, after a signal if one is given; exit code and stderr."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@pytest.fixture
def world(
    redis_client: redis.Redis, redis_server: RedisServer, redis_namespace: str, tmp_path: Path
) -> World:
    made = World(redis_client, redis_server, redis_namespace, tmp_path)
    for name in (RAW, POINTS):
        made.stream(name)
    return made


def test_samples_are_shown_and_nothing_is_consumed(world: World) -> None:
    world.extract()  # before: not shown
    with world.tap("raw") as tap:
        world.extract()
        before = world.state()
        tap.until(3)
        assert world.state() == before
        code, err = tap.end(signal.SIGINT)
    assert code == 0
    assert tap.out == [
        '1970-01-01T00:01:00Z up{job="a"} 1.0\n',
        '1970-01-01T00:01:15Z up{job="a"} nan\n',
        '1970-01-01T00:01:00Z up{job="b\\u001b"} 0.5\n',
    ]
    assert err == "Shown: 3 samples of 1 entries; missed, of all queries: 0 entries.\n"
    # The pipeline goes on with both.
    assert len(world.stream(RAW).read(5, 1.0)) == 2


def test_points_as_json_up_to_a_count(world: World) -> None:
    with world.tap("points", "--query", "up", "--count", "1", "--json") as tap:
        world.extract()
        world.transform()
        code, err = tap.end()
    assert code == 0
    assert [json.loads(line) for line in tap.out] == [
        {"query": "up", "tier": "hot", "line": "up,job=a value=1 60000"}
    ]
    assert "Shown: 1 samples" in err


def test_raw_samples_as_json(world: World) -> None:
    with world.tap("raw", "--json", "--count", "2") as tap:
        world.extract()
        assert tap.end()[0] == 0
    first, second = map(json.loads, tap.out)
    assert first == {
        "query": "up",
        "tier": "hot",
        "labels": {"__name__": "up", "job": "a"},
        "timestamp_ms": 60_000,
        "value": 1.0,
    }
    assert second["value"] == "nan"


def test_another_query_is_not_shown(world: World) -> None:
    with world.tap("raw", "--query", "other") as tap:
        world.extract()
        world.extract(b"no batch")
        code, err = tap.end(signal.SIGINT)
    assert (code, tap.out) == (0, [])
    assert "cannot be decoded" not in err


def test_what_cannot_be_decoded_is_said_and_the_next_is_shown(world: World) -> None:
    with world.tap("raw") as tap:
        world.extract(b"no batch")
        world.extract()
        tap.until(3)
        code, err = tap.end(signal.SIGINT)
    assert code == 0
    assert "of up@hot cannot be decoded: raw payload: its checksum does not fit" in err


def test_it_ends_when_nobody_reads_any_more(world: World) -> None:
    command = f"{sys.executable} -m etlctl tap raw --config {world.config}"
    with subprocess.Popen(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as piped:
        # Until head has gone the samples do fit into the pipe.
        while piped.poll() is None:
            world.extract()
        assert piped.stdout is not None
        assert piped.stdout.read().count("\n") == 1
        assert piped.returncode == 0


def test_a_query_that_is_not_configured_is_refused(world: World) -> None:
    with Tap(world.config, "raw", "--query", "nosuch", "--json") as tap:
        code, err = tap.end()
    assert code == 2
    assert err == "etlctl: --query nosuch: no such query; there are other, up\n"
    assert json.loads("".join(tap.out))["exit_code"] == 2


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["raw", "--count", "0"], ["raw", "--count", "x"]]
)
def test_wrong_arguments(world: World, arguments: list[str]) -> None:
    with Tap(world.config, *arguments) as tap:
        code, err = tap.end()
    assert code == 2
    assert "Invalid value" in err


def test_what_is_settled_before_it_is_read_is_counted(world: World) -> None:
    flow = Flow(world.redis, world.keys, RAW)
    for _ in range(3):
        world.extract()
        world.transform()
    world.extract()
    assert [one.query for one in flow.read()] == ["up"]
    assert flow.missed == 3
    # An entry that is there, without its payload.
    world.extract()
    world.redis.delete(*world.redis.keys(f"{world.keys.payload('')}*"))
    assert flow.read() == []
    assert flow.missed == 4
    assert flow.read(0.01) == []
    assert flow.missed == 4


def test_a_redis_that_was_emptied_begins_anew(world: World) -> None:
    world.extract()
    flow = Flow(world.redis, world.keys, RAW)
    world.redis.delete(*world.redis.keys(f"{world.keys.namespace}:*"))
    assert flow.read(0.01) == []
    world.head_ms = 0
    world.extract()
    assert [one.samples for one in flow.read()] == [3]
    assert flow.missed == 0
