"""A pipeline spread over hosts, and what its tests do to the network between them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from common.state.keys import GROUP, POINTS
from devtools.hosts.network import Network
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from tests.e2e.failover import FailoverPipeline
from tests.e2e.pipeline import KEYS

HOSTS = ("one", "two", "three")
# The host of Prometheus, the simulator and the sink.
SERVERS = "servers"
SERVICES = {
    "one": ("extractor", "loader"),
    "two": ("transformer", "loader"),
    "three": ("extractor", "transformer", "loader"),
}


class SpreadPipeline:
    """The pipeline and the network below it."""

    def __init__(self, pipeline: FailoverPipeline, network: Network) -> None:
        self.pipeline = pipeline
        self.network = network

    def heal(self) -> None:
        self.network.heal()
        self.pipeline.heal()
        self.pipeline.until(lambda: not self.pipeline.unready(), "everything is ready")

    def host_of(self, server: RedisServer | ServiceProcess) -> str:
        return next(h for h in HOSTS if self.network.address(h) == server.place.address)

    def on(self, host: str, module: str) -> ServiceProcess:
        """The service of that kind on a host."""
        services = self.pipeline.stack.services[module]
        return next(one for one in services if self.host_of(one) == host)

    def host_without_master(self) -> str:
        master = self.host_of(self.pipeline.failover.master())
        return next(host for host in HOSTS if host != master)

    def held_by(self, loader: ServiceProcess) -> dict[str, int]:
        """Entry → milliseconds since it was delivered, of what the loader holds unsettled."""
        found: Any = self.pipeline.redis.xpending_range(
            KEYS.stream(POINTS), GROUP, min="-", max="+", count=1000
        )
        ours = f"-{loader.pid}-".encode()
        return {
            one["message_id"].decode(): int(one["time_since_delivered"])
            for one in found
            if ours in one["consumer"]
        }

    def events_of(self, service: ServiceProcess, event: str) -> list[dict[str, Any]]:
        lines = service.log_path.read_text(encoding="utf-8").splitlines()
        parsed = (json.loads(line) for line in lines if line.startswith("{"))
        return [one for one in parsed if one.get("event") == event]

    @contextmanager
    def most_in_flight(self) -> Iterator[list[int]]:
        """The most samples that were in flight within the block, as the one item of a list."""
        most, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                try:
                    most[0] = max(most[0], self.pipeline.audit().total.in_flight)
                except RedisError:
                    continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield most
        finally:
            over.set()
            watcher.join()

    def prove(self) -> None:
        """Nothing lost, nothing twice: source, sink, ledger and seals agree."""
        began = time.monotonic()
        assert self.pipeline.prove_all()["verdict"] == "equal"
        self.pipeline.until_sealed()
        sealed = self.pipeline.etlctl("verify", "--sealed", "--json")
        assert sealed.returncode == 0, sealed.stdout + sealed.stderr
        total = self.pipeline.audit().total
        assert total.dead_lettered == 0
        print(f"proven within {time.monotonic() - began:.1f} s: {total}")
