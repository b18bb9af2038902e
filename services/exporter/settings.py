"""Configuration of etl-metrics: flags, ``ETL_METRICS_…``, and the pipeline's variables for Redis.

Made of the standard library only: pydantic, which the other services read theirs with, would take
half of the memory that this process may use.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from common.durations import parse_duration_ms
from common.errors import ConfigError
from common.secret_files import check_secret_mode, read_secret, read_secret_bytes
from common.version import project_version

PREFIX = "ETL_METRICS_"
PIPELINE_PREFIX = "ETL__PIPELINE__"
# The port that compose publishes: meant for compose, but often in the same environment.
_NOT_OURS = frozenset({f"{PREFIX}PORT"})
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_REDIS_SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """What etl-metrics does; durations in seconds. Without ``redis_url`` it reads no Redis."""

    http_host: str
    http_port: int
    username: str
    log_path: Path | None
    log_poll_seconds: float
    silent_seconds: float
    redis_url: str | None
    redis_ca_file: str | None
    redis_namespace: str
    redis_poll_seconds: float
    worker_silent_seconds: float
    log_level: str
    password: str | None = field(default=None, repr=False)
    redis_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its flag and variable are made of ``name``; ``parse`` raises ValueError."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    help: str
    pipeline: bool = False

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """As it is written in the environment; the first that is set counts."""
        own = f"{PREFIX}{self.name.upper()}"
        return (own, f"{PIPELINE_PREFIX}{self.name.upper()}") if self.pipeline else (own,)


def _text(text: str) -> str:
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise ValueError("must be a port, 0 to 65535 (0 takes a free one)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_duration_ms(text) / 1000
    if not (math.isfinite(seconds) and 0.05 <= seconds <= 86_400):
        raise ValueError("must be between 0.05 seconds and a day")
    return seconds


def _level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise ValueError(f"must be one of {', '.join(_LEVELS)}")
    return text.upper()


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", text):
        raise ValueError("must be 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `.`, `-`")
    return text


def _redis_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _REDIS_SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        raise ValueError("must be redis://HOST:PORT/DB, rediss://… or unix://PATH")
    if parts.password is not None:
        raise ValueError("must hold no password: that belongs in a file, redis_password_file")
    _ = parts.port  # raises ValueError itself
    return text


def _readable_file(text: str) -> str:
    read_secret_bytes(text)
    return text


def _secret_file(text: str) -> str:
    check_secret_mode(text)
    return read_secret(text)


def _username(text: str) -> str:
    if ":" in text:
        raise ValueError("must hold no colon: basic authentication cannot carry it")
    return text


OPTIONS: tuple[Option, ...] = (
    Option("http_host", _text, "0.0.0.0", "address to listen on"),
    Option("http_port", _port, "8083", "port to listen on; 0 takes a free one"),
    Option("username", _username, "prometheus", "user name of /metrics, if there is a password"),
    Option("password_file", _secret_file, None, "file with the password of /metrics; none: open"),
    Option("log_path", Path, None, "JSON log of the ETL process; none: not followed"),
    Option("log_poll_seconds", _seconds, "1", "how often the log is looked at"),
    Option(
        "silent_seconds",
        _seconds,
        "30",
        "silence of the log after which its process counts as unhealthy (at least three of its"
        " heartbeats)",
    ),
    Option("redis_url", _redis_url, None, "Redis of the pipeline; none: not read", pipeline=True),
    Option(
        "redis_password_file", _secret_file, None, "file with the password of Redis", pipeline=True
    ),
    Option(
        "redis_ca_file",
        _readable_file,
        None,
        "PEM file with the authorities, beside the system's, that may vouch for a Redis behind"
        " rediss://",
        pipeline=True,
    ),
    Option("redis_namespace", _namespace, "etl", "prefix of the pipeline's keys", pipeline=True),
    Option("redis_poll_seconds", _seconds, "10", "how often Redis is read"),
    Option(
        "worker_silent_seconds",
        _seconds,
        "60",
        "silence after which a worker is no longer counted as alive",
    ),
    Option(
        "log_level",
        _level,
        "INFO",
        f"least level that is logged: {', '.join(_LEVELS)}",
        pipeline=True,
    ),
)
_PASSWORDS = {"password_file": "password", "redis_password_file": "redis_password"}


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> ExporterSettings:
    """Settings from flags, then environment, then defaults; an empty variable counts as not set.

    Raises :class:`ConfigError` with one line for each problem.
    """
    given = vars(_parser().parse_args(arguments))
    problems = [
        f"etl-metrics: {name}: is no setting of etl-metrics; --help lists them"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in _KNOWN and environ[name]
    ]
    values: dict[str, Any] = {}
    for option in OPTIONS:
        where, text = _find(option, given[option.name], environ)
        value = None
        if text is not None:
            try:
                value = option.parse(text)
            except ValueError as error:
                problems.append(f"etl-metrics: {where}: {error}")
        values[_PASSWORDS.get(option.name, option.name)] = value
    if not problems and values["log_path"] is None and values["redis_url"] is None:
        problems.append(
            f"etl-metrics: {PREFIX}LOG_PATH (--log-path) or {PREFIX}REDIS_URL (--redis-url): "
            "set at least one, or there is nothing to export"
        )
    if values["redis_ca_file"] and not (values["redis_url"] or "").startswith("rediss://"):
        problems.append(
            f"etl-metrics: {PREFIX}REDIS_CA_FILE (--redis-ca-file): would never be used: redis_url "
            "does not begin with rediss://"
        )
    if problems:
        raise ConfigError(*problems)
    return ExporterSettings(**values)


_KNOWN = _NOT_OURS | {name for option in OPTIONS for name in option.variables}


def _find(option: Option, flag: str | None, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the option's text was found, and the text."""
    if flag is not None:
        return option.flag, flag
    for name in option.variables:
        if environ.get(name):
            return f"{name} ({option.flag})", environ[name]
    return option.flag, option.default


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"etl-metrics: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m services.exporter",
        description="etl-metrics: exports the log of an ETL process, and the books in Redis.",
        epilog="Each can be set in the environment too: --http-port is ETL_METRICS_HTTP_PORT. Those"
        " of Redis may also have the pipeline's names: ETL__PIPELINE__REDIS_URL.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        default = f" (default: {option.default})" if option.default else ""
        kind = option.name.rsplit("_", 1)[-1].upper()
        parser.add_argument(option.flag, metavar=kind, help=f"{option.help}{default}")
    parser.add_argument("--version", action="version", version=project_version())
    return parser
