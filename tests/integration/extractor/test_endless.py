"""The extractor as a process, and one query whose good response never ends."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from redis import Redis

from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import FeedStatus, WindowSet
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.support.answering_server import AnsweringServer, Handler, reply

BAD, GOOD = "bad", "good"
MIB = 1 << 20


class Source:
    """A Prometheus in which every query has one series; that of ``BAD`` may have no end."""

    def __init__(self, pause_seconds: float) -> None:
        # Between the pieces of what never ends.
        self.pause_seconds = pause_seconds
        self.endless = True
        self.pieces = 0

    def answer(self, handler: Handler) -> None:
        params = handler.request_seen.params
        query = params.get("query")
        if query == "time()":
            reply(_document("scalar", [0, str(time.time())]))(handler)
        elif query == BAD and self.endless:
            self._stream(handler)
        elif query in (BAD, GOOD):
            start, end = float(params["start"]), float(params["end"])
            values = [[start + second, "1"] for second in range(round(end - start) + 1)]
            reply(_document("matrix", [{"metric": {}, "values": values}]))(handler)
        else:
            reply(b"", 404)(handler)

    def _stream(self, handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        begun = _document("matrix", []).partition(b"]")[0] + b'{"metric":{},"values":[[1,"1"]]}'
        for piece in itertools.chain([begun], _long_series()):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()
            self.pieces += 1
            if handler.server.closing.wait(self.pause_seconds):
                return


def _document(kind: str, result: object) -> bytes:
    data = {"resultType": kind, "result": result}
    return json.dumps({"status": "success", "data": data}, separators=(",", ":")).encode()


def _long_series() -> Iterator[bytes]:
    values = b",".join([b'[%d.5,"1.25"]' % second for second in range(1_000)])
    for i in itertools.count():
        yield b',{"metric":{"i":"%d"},"values":[%s]}' % (i, values)


class World:
    def __init__(
        self, source: Source, redis: Redis, url: str, namespace: str, tmp_path: Path, log_dir: Path
    ) -> None:
        self.source, self.redis, self.keys = source, redis, Keys(namespace)
        self.windows = WindowSet(redis, self.keys)
        self.server = AnsweringServer(source.answer)
        config = {
            "extract": {
                "prometheus_url": self.server.url,
                "timeout": 1,
                "settle_seconds": 0,
                "initial_lookback_seconds": 10,
                "backoff_base_seconds": 0.1,
                "backoff_max_seconds": 0.5,
                "max_window_samples": 500_000,
                "recheck_after_seconds": 0,
                "queries": [{"name": name, "expr": name, "step": 1} for name in (BAD, GOOD)],
            },
            "load": {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b"}},
            "pipeline": {
                "redis_url": url,
                "redis_namespace": namespace,
                "interval_seconds": 1,
                "drain_seconds": 8,
            },
        }
        path = tmp_path / "etl.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.process = ServiceProcess("extractor", tmp_path / "run", config=path, log_dir=log_dir)
        log = self.process.log_path
        self._earlier = len(log.read_text(encoding="utf-8")) if log.exists() else 0

    @property
    def log(self) -> str:
        """Of this process alone."""
        return self.process.log_path.read_text(encoding="utf-8")[self._earlier :]

    def feed(self, query: str) -> FeedStatus | None:
        return self.windows.status().get(f"{query}@hot")

    def watermark_ms(self, query: str) -> int:
        """Of all that is committed, what is deferred too."""
        feed = self.feed(query)
        if feed is None:
            return 0
        return min([feed.watermark_ms, *(start for start, _ in feed.deferred)])

    def passes(self, query: str, time_ms: int) -> None:
        wait_until(
            lambda: self.watermark_ms(query) > time_ms,
            deadline_seconds=45,
            what=f"{query} is extracted",
        )

    @property
    def most_memory_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kib) << 10


@pytest.fixture(params=[0.0, 0.05], ids=["fast", "drips"])
def world(
    request: pytest.FixtureRequest,
    redis_client: Redis,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    log_dir: Path,
) -> Iterator[World]:
    source = Source(request.param)
    world = World(source, redis_client, redis_server.plain_url, redis_namespace, tmp_path, log_dir)
    with world.server:
        try:
            yield world
        finally:
            world.process.close()


def test_the_other_queries_go_on_and_nothing_is_lost(world: World) -> None:
    world.process.start(wait=False)
    wait_until(lambda: "window_split" in world.log, deadline_seconds=45, what="it is cut")
    for _ in range(3):
        world.passes(GOOD, int(time.time() * 1000))
    before = world.feed(BAD)
    assert before is not None
    assert world.watermark_ms(BAD) == before.origin_ms

    cut = next(line for line in world.log.splitlines() if "window_split" in line)
    why = "more than 500000 samples" if world.source.pause_seconds == 0 else "within 1 s of waiting"
    assert why in cut
    assert f"Prometheus at {world.server.url}/api/v1/query_range sent " in cut
    assert f"query '{BAD}', window (" in cut
    assert "Traceback" not in world.log
    assert world.most_memory_bytes < 160 * MIB

    world.source.endless = False
    world.passes(BAD, int(time.time() * 1000))

    assert world.process.stop() == 0
    audit = Ledger(world.redis, world.keys).audit()
    assert (audit.imbalance_samples, audit.staged_bytes) == (0, 0)
    for query in (BAD, GOOD):
        feed = world.feed(query)
        assert feed is not None
        assert not feed.gaps
        extracted = audit.accounts[f"{query}@hot"].extracted
        held = sum(end - start for start, end in (*feed.backlog, *feed.open, *feed.deferred))
        assert extracted == (feed.head_ms - feed.origin_ms - held) / 1000


def test_it_stops_in_time_meanwhile(world: World) -> None:
    world.process.start(wait=False)
    wait_until(lambda: world.source.pieces > 3, deadline_seconds=45, what="it comes in")
    assert world.process.stop() == 0
    assert "drain_deadline_passed" not in world.log
    assert Ledger(world.redis, world.keys).audit().staged_bytes == 0
