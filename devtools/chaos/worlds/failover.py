"""A rig on a Redis that fails over: three servers, of which one is the master, and Sentinels."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from common.state.connection.redis_client import SOCKET_TIMEOUT_SECONDS, connect
from common.state.connection.sentinels import SentinelLogin
from devtools.chaos.rig import Rig
from devtools.servers.binaries import Toolbox
from devtools.servers.redis_failover import RedisFailover
from devtools.servers.redis_server import RedisServer
from devtools.servers.stack import new_run_dir
from devtools.servers.waiting import wait_until

# Of the data servers, and of the Sentinels.
PASSWORD, SENTINEL_PASSWORD = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
# Long enough that servers on a busy machine are not taken for dead.
DOWN_AFTER_MS = 3000
# How much a failover may lose: commands that no replica has acknowledged for so long.
MAX_LAG_SECONDS = 2
_FILES = {
    "redis_password_file": PASSWORD,
    "redis_sentinel_password_file": SENTINEL_PASSWORD,
}


class FailoverRig(Rig):
    """Its services, and whoever proves something, ask the Sentinels; no proxy lies between them.

    ``failover`` runs as long as the rig does.
    """

    def __init__(self, failover: RedisFailover, *arguments: Any, **options: Any) -> None:
        self.failover = failover
        self._folder: Path = options["run_dir"] / "failover"
        super().__init__(*arguments, **options)

    def config(self) -> dict[str, Any]:
        """The Sentinels' addresses and both passwords, in files."""
        config = super().config()
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, secret in _FILES.items():
            file = self._folder / name
            file.touch(mode=0o600)
            file.write_text(secret, encoding="utf-8")
            config["pipeline"][name] = str(file)
        config["pipeline"]["redis_url"] = self.failover.url
        return config

    def direct_environ(self) -> dict[str, str]:
        """See the rig's."""
        return {**super().direct_environ(), "ETL__PIPELINE__REDIS_URL": self.failover.url}

    def connect_redis(self, socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> Redis:
        """A client of whichever is the master."""
        return connect(
            self.failover.url,
            PASSWORD,
            sentinel_login=SentinelLogin(None, SENTINEL_PASSWORD),
            socket_timeout_seconds=socket_timeout_seconds,
        )

    def repair(self) -> None:
        """All servers up again; see the rig's."""
        self.make_whole()
        super().repair()

    def master(self) -> RedisServer:
        """The master, as soon as most Sentinels name it."""

        def named() -> RedisServer | None:
            try:
                return self.failover.master()
            except RedisError:
                return None

        return wait_until(named, deadline_seconds=60.0, what="the Sentinels name a master")

    def make_whole(self) -> None:
        """Have all servers run, and wait until they replicate and the Sentinels know them."""
        for server in (*self.failover.servers, *self.failover.sentinels):
            server.resume()
            server.start()
        self.failover.wait_whole()


@contextlib.contextmanager
def failing_over(
    seed: str,
    *,
    run_dir: Path | None = None,
    toolbox: Toolbox | None = None,
    keep_data: bool = False,
    **options: Any,
) -> Iterator[FailoverRig]:
    """Such a rig, started, and the servers below it; all ended on exit."""
    run_dir, toolbox = run_dir or new_run_dir("chaos"), toolbox or Toolbox()
    toolbox.prepare()
    failover = RedisFailover(
        toolbox,
        run_dir / "failover",
        log_dir=run_dir / "logs",
        password=PASSWORD,
        down_after_ms=DOWN_AFTER_MS,
        settings={
            "min-replicas-to-write": "1",
            "min-replicas-max-lag": str(MAX_LAG_SECONDS),
        },
        sentinel_password=SENTINEL_PASSWORD,
    )
    try:
        with (
            failover,
            FailoverRig(
                failover, seed, run_dir=run_dir, toolbox=toolbox, keep_data=keep_data, **options
            ) as rig,
        ):
            yield rig
    finally:
        if not keep_data:
            shutil.rmtree(run_dir / "failover", ignore_errors=True)
