"""A Redis that fails over: one master, its replicas, and the Sentinels that watch them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis
from redis.utils import str_if_bytes

from devtools.servers.binaries import Toolbox
from devtools.servers.lifetime import StartStop
from devtools.servers.place import LOOPBACK, Place
from devtools.servers.ports import HOST
from devtools.servers.processes import stop_together
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until

MASTER_NAME = "etl"
_PATIENCE_SECONDS = 60.0


class ReplicatedServer(RedisServer):
    """A data server whose redis.conf is written once: Sentinels keep there whom it follows."""

    def prepare(self) -> None:
        """Writes redis.conf before the first start."""
        if not self._config.exists():
            super().prepare()


class SentinelServer(RedisServer):
    """One Sentinel; ``lines`` are further lines of its sentinel.conf, ``password`` is its own."""

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str,
        master_port: int,
        master_address: str = HOST,
        master_password: str | None = None,
        quorum: int = 1,
        down_after_ms: int = 1000,
        log_dir: Path | None = None,
        password: str | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__(toolbox, work_dir, name=name, log_dir=log_dir, password=password)
        self._lines = [
            f"sentinel monitor {MASTER_NAME} {master_address} {master_port} {quorum}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {down_after_ms}",
            f"sentinel failover-timeout {MASTER_NAME} {5 * down_after_ms}",
            *lines,
        ]
        if master_password is not None:
            self._lines.append(f"sentinel auth-pass {MASTER_NAME} {master_password}")

    def prepare(self) -> None:
        """Writes sentinel.conf once: the Sentinel itself keeps there what it has learnt."""
        if self._config.exists():
            return
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {self.place.address}",
            f"port {self.port}",
            f'dir "{self._data_dir}"',
            *self._lines,
        ]
        if self.password is not None:
            lines.append(f'requirepass "{self.password}"')
        self._config.touch(mode=0o600)
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def command(self) -> Sequence[str]:
        """The same program, as a Sentinel."""
        return [*super().command(), "--sentinel"]


class RedisFailover(StartStop):
    """Context manager: master, replicas and Sentinels up and known to each other.

    ``settings`` are further lines of every redis.conf. ``sentinel_password`` is the one that the
    Sentinels want of whoever asks them, ``sentinel_lines`` further lines of their configuration.
    Servers and Sentinels are dealt out to ``places`` in turn.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        down_after_ms: int = 1000,
        log_dir: Path | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        sentinel_password: str | None = None,
        sentinel_lines: Sequence[str] = (),
        places: Sequence[Place] = (LOOPBACK,),
    ) -> None:
        self.password = password
        self._places = places
        common = {"repl-diskless-sync-delay": "0", **(settings or {})}
        if password is not None:
            common["masterauth"] = password

        self._options: dict[str, Any] = {"log_dir": log_dir, "password": password}
        self._toolbox, self._work_dir, self._settings = toolbox, work_dir, common
        self._replicas, self._sentinels = replicas, sentinels
        self.servers: list[RedisServer] = []
        self.sentinels: list[SentinelServer] = []
        self._sentinel: dict[str, Any] = {
            "master_password": password,
            "quorum": sentinels // 2 + 1,
            "down_after_ms": down_after_ms,
            "log_dir": log_dir,
            "password": sentinel_password,
            "lines": sentinel_lines,
        }

    @property
    def url(self) -> str:
        """The address of whichever is the master; no secrets in it."""
        hosts = ",".join(f"{sentinel.place.address}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER_NAME}/0"

    def start(self) -> Self:
        """Returns when every Sentinel knows all replicas and all other Sentinels."""
        try:
            first = self._begin(self._server(1, {}))
            # Its port is certain only now.
            following = {"replicaof": f"{first.place.address} {first.port}"}
            for number in range(2, self._replicas + 2):
                self._begin(self._server(number, following))
            for number in range(1, self._sentinels + 1):
                name = f"sentinel-{number}"
                sentinel = SentinelServer(
                    self._toolbox,
                    self._work_dir / name,
                    name=name,
                    master_port=first.port,
                    master_address=first.place.address,
                    **self._sentinel,
                )
                sentinel.place = self._place(number)
                self.sentinels.append(sentinel)
                sentinel.start()
            self.wait_whole()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Sentinels first, or they would fail over meanwhile."""
        try:
            stop_together(self.sentinels)
            stop_together(self.servers)
        finally:
            self.kill()

    def kill(self) -> None:
        """Everything, at once and for good."""
        for server in (*self.sentinels, *self.servers):
            with contextlib.suppress(OSError):
                server.close()

    def master(self) -> RedisServer:
        """The server that most Sentinels name; raises what redis-py raises while they do not."""
        ports = self._named_masters()
        if len(ports) <= len(self.sentinels) // 2 or len(set(ports)) != 1:
            raise redis.ConnectionError(f"the Sentinels name {ports}")
        return next(server for server in self.servers if server.port == ports[0])

    def replicas(self) -> list[RedisServer]:
        """The other servers."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def wait_whole(self) -> None:
        """Wait until all servers run, replicate, and are known to all Sentinels."""
        wait_until(
            self._is_whole,
            deadline_seconds=_PATIENCE_SECONDS,
            what="Redis is whole",
            poll_seconds=0.1,
        )

    def wait_for_another_master_than(self, old: RedisServer) -> RedisServer:
        """Wait until the Sentinels that respond name another one, which says so itself."""

        def is_chosen() -> RedisServer | None:
            try:
                master = self.master()
                if master is old:
                    return None
                with master.client(timeout_seconds=2.0) as client:
                    replication: Any = client.info("replication")
                    return master if replication["role"] == "master" else None
            except redis.RedisError:
                return None

        return wait_until(
            is_chosen, deadline_seconds=_PATIENCE_SECONDS, what="another Redis is the master"
        )

    def _named_masters(self) -> list[int]:
        """The port of the master according to each Sentinel that responds."""
        ports = []
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError):
                ports.append(int(self._state(sentinel)["port"]))
        return ports

    def _begin(self, server: RedisServer) -> RedisServer:
        self.servers.append(server)
        return server.start()

    def _server(self, number: int, settings: Mapping[str, str]) -> RedisServer:
        name, settings = f"redis-{number}", {**self._settings, **settings}
        folder = self._work_dir / name
        server = ReplicatedServer(
            self._toolbox, folder, name=name, settings=settings, **self._options
        )
        server.place = self._place(number)
        return server

    def _place(self, number: int) -> Place:
        return self._places[(number - 1) % len(self._places)]

    def _is_whole(self) -> bool:
        try:
            for sentinel in self.sentinels:
                state = self._state(sentinel)
                known = state["num-other-sentinels"], state["num-slaves"]
                if known != (len(self.sentinels) - 1, self._replicas) or state["is_sdown"]:
                    return False
            with self.master().client(timeout_seconds=2.0) as client:
                replication: Any = client.info("replication")
        except redis.RedisError:
            return False
        following = [replication.get(f"slave{number}", {}) for number in range(self._replicas)]
        # Told only where writes need replicas, and counted once a second.
        good = replication.get("min_slaves_good_slaves", self._replicas)
        return good == self._replicas and all(
            one.get("state") == "online" and one.get("lag", 9) <= 1 for one in following
        )

    def _state(self, sentinel: SentinelServer) -> dict[str, Any]:
        with sentinel.client(timeout_seconds=2.0) as client:
            found: Any = client.sentinel_master(MASTER_NAME)
        return {str_if_bytes(name): value for name, value in found.items()}
