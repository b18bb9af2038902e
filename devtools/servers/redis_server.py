"""A real redis-server.

``ETL_TEST_REDIS_SERVER`` names another program than the one found, for instance a Redis 8 or a
Valkey; its ``…-check-aof`` is expected beside it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.errors import StackError
from devtools.servers.binaries import Program, Toolbox
from devtools.servers.processes import Server

PROGRAM_VARIABLE = "ETL_TEST_REDIS_SERVER"


def server_program(toolbox: Toolbox, environ: Mapping[str, str] = os.environ) -> Program:
    """The program to run; raises :class:`StackError` when what the environment names is none."""
    named = environ.get(PROGRAM_VARIABLE)
    if not named:
        return toolbox.program("redis-server")
    path = Path(named)
    if not (path.is_absolute() and path.is_file() and os.access(path, os.X_OK)):
        raise StackError(f"{PROGRAM_VARIABLE}: {named} is no absolute path of a program")
    return Program(path.name, path)


class RedisServer(Server):
    """redis-server with the settings that the pipeline asks of production.

    Append-only file synced each second, no snapshots, ``noeviction``. ``settings`` are further
    lines of redis.conf, e.g. ``{"maxmemory": "64mb"}``.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str = "redis",
        log_dir: Path | None = None,
        password: str | None = None,
        append_only: bool = True,
        append_fsync: str = "everysec",
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(name, work_dir, log_dir=log_dir, port=port)
        self._toolbox = toolbox
        self._config = work_dir / "redis.conf"
        self._data_dir = work_dir / "data"
        self.password = password
        self._settings = {
            "appendonly": "yes" if append_only else "no",
            "appendfsync": append_fsync,
            "save": '""',
            "maxmemory-policy": "noeviction",
            # More often than in deployments: a service that is to end waits for its read to time
            # out, which Redis notices when it looks round.
            "hz": "5",
            # Lets a chaos test say DEBUG SLEEP or reload the append-only file.
            "enable-debug-command": "local",
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """``redis://…/0``, with the password if there is one."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{credentials}{self.place.address}:{self.port}/0"

    @property
    def plain_url(self) -> str:
        """``redis://…/0`` without the password."""
        return f"redis://{self.place.address}:{self.port}/0"

    def client(self, *, timeout_seconds: float = 10.0) -> redis.Redis:
        """A new client; replies are bytes, nothing is tried twice. The caller closes it."""
        return redis.Redis(
            host=self.place.address,
            port=self.port,
            password=self.password,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),  # by default it hides an outage for seconds
        )

    @property
    def program(self) -> Program:
        """What is run."""
        return server_program(self._toolbox)

    @property
    def check_aof(self) -> Path:
        """The server's own repair of append-only files."""
        path = self.program.path
        return path.with_name(path.name.replace("-server", "-check-aof"))

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self.program.environment()

    def prepare(self) -> None:
        """Writes redis.conf: the password is not for the process list."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {self.place.address}",
            f"port {self.port}",
            f'dir "{self._data_dir}"',
            "daemonize no",
            "supervised no",
            'logfile ""',
            *(f"{key} {value}" for key, value in self._settings.items()),
        ]
        if self.password is not None:
            if any(character in self.password for character in '"\\\r\n'):
                raise StackError(f"{self.name}: the password must not hold quotes or backslashes")
            lines.append(f'requirepass "{self.password}"')
        self._config.touch(mode=0o600)
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def command(self) -> Sequence[str]:
        """redis-server with its file."""
        return [str(self.program.path), str(self._config)]

    def probe(self) -> str | None:
        """PING; while the append-only file is loaded the answer is an error."""
        try:
            with self.client(timeout_seconds=2.0) as client:
                client.ping()
        except redis.RedisError as error:
            return f"PING: {error}"
        return None

    def forget_data(self) -> None:
        """Removes the append-only file."""
        shutil.rmtree(self._data_dir, ignore_errors=True)
