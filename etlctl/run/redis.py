"""The Redis of ``etlctl run``, where the configuration names none."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError

from common.errors import ConfigError, EtlError
from common.secret_files import read_secret
from common.state.connection.redis_client import connect
from etlctl.run.child import Child, Program
from etlctl.run.folder import address_of, write_address
from etlctl.run.ports import HOST, can_bind, free_port

NAME = "redis"
_PROGRAMS = ("redis-server", "valkey-server")
_MISSING = (
    "no Redis is named (pipeline.redis_url), and neither redis-server nor valkey-server is on PATH:"
    " install one (redis-server on Debian and Ubuntu, valkey on Fedora, redis on Alpine and in"
    " Homebrew), or name a Redis"
)
# Reading a long append-only file takes its time.
READY_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


def server_program(environ: Mapping[str, str]) -> str:
    """The path of a server. Raises :class:`ConfigError` where none is installed."""
    found = (shutil.which(name, path=environ.get("PATH")) for name in _PROGRAMS)
    program = next(filter(None, found), None)
    if program is None:
        raise ConfigError(_MISSING)
    return program


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """A Redis on a port of loopback, with a password, and its data in a folder of ours."""

    program: str
    folder: Path
    port: int
    password_file: Path

    @classmethod
    def prepare(cls, data: Path, environ: Mapping[str, str]) -> OwnRedis:
        """Make folder, password and redis.conf; the port is that of the last run if it is free.

        Raises :class:`ConfigError` where no server is installed, or the folder cannot be used.
        """
        program = server_program(environ)
        password_file, folder = data / "redis_password", data / "redis"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not password_file.exists():
                _write(password_file, secrets.token_urlsafe(32) + "\n")
            own = cls(program, folder, _port(data), password_file)
            _write(own.configuration, own.text(read_secret(password_file)))
            write_address(data, own.url, password_file)
        except OSError as error:
            why = f"{error.filename or data}: {error.strerror}"
            raise ConfigError(f"--data: {data}: cannot be used: {why}") from None
        except ValueError as error:
            raise ConfigError(f"--data: {data}: cannot be used: {error}") from None
        return own

    @property
    def url(self) -> str:
        """Without the password."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def configuration(self) -> Path:
        """The file that redis-server is started with: the password is not for the process list."""
        return self.folder / "redis.conf"

    def text(self, password: str) -> str:
        """redis.conf, with what the pipeline asks of a Redis (docs/reliability.md)."""
        lines = (
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {_quoted(password)}",
            f"dir {_quoted(str(self.folder.absolute()))}",
            "daemonize no",
            'logfile ""',
            "loglevel warning",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "hz 2",
        )
        return "\n".join(lines) + "\n"

    def child(self, make: Callable[[Program], Child], environ: Mapping[str, str]) -> Child:
        """Its process, not started yet."""
        command = (self.program, str(self.configuration.absolute()))
        return make(Program(NAME, command, environ, HOST, self.port, _STOP_SECONDS, is_stage=False))

    def client(self) -> Redis:
        """A client; nothing is sent yet."""
        return connect(self.url, read_secret(self.password_file))

    def wait_until_it_answers(
        self, child: Child, stopped: Callable[[], bool], seconds: float = READY_SECONDS
    ) -> None:
        """Wait until it has read its append-only file, or ``stopped`` says that nobody waits.

        Raises :class:`EtlError` when it ends before, or takes too long.
        """
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while not stopped():
                why = "it ended"
                try:
                    if child.running and client.ping():
                        return
                except RedisError as error:
                    why = str(error)
                if not child.running or time.monotonic() >= deadline:
                    child.exit_code()  # its last lines first
                    raise EtlError(
                        f"{self.program} with {self.configuration} is not ready: {why}: see its "
                        "lines above"
                    )
                time.sleep(_POLL_SECONDS)


def _port(data: Path) -> int:
    known = address_of(data)
    port = urlsplit(known["redis_url"]).port if known else None
    return port if port and can_bind(HOST, port) else free_port()


def _quoted(text: str) -> str:
    """As redis.conf has it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write(file: Path, text: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)
