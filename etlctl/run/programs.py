"""Which processes ``etlctl run`` starts, and how each is configured."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.config import PipelineSettings, Settings
from common.errors import ConfigError
from etlctl.run import STAGE_ENVIRON
from etlctl.run.child import Program
from etlctl.run.ports import HOST, can_bind, free_port

EXTRACTOR, TRANSFORMER, LOADER, VERIFIER = "extractor", "transformer", "loader", "verifier"
STAGES = (EXTRACTOR, TRANSFORMER, LOADER, VERIFIER)
ETL_METRICS = "etl-metrics"
# What listens on all addresses answers on this one too.
_ANY = {"0.0.0.0": HOST, "": HOST, "::": "::1", "[::]": "::1"}
_ETL_METRICS_DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. ``port``: the first of the ports; 0 = free ones."""

    config: Path
    with_metrics: bool
    port: int | None


def programs(
    settings: Settings, wanted: Wanted, environ: Mapping[str, str], redis: Mapping[str, str]
) -> list[Program]:
    """The stages, and etl-metrics if wanted, each with a port that is free now.

    ``redis`` are variables that lead to a Redis which the configuration does not name. Raises
    :class:`ConfigError` with one line for each port that is in use.
    """
    pipeline = settings.pipeline
    if pipeline.log_file is not None and not {"{service}", "{pid}"} & _holes(pipeline.log_file):
        raise ConfigError(
            f"pipeline.log_file: {pipeline.log_file}: the stages would share it: put {{service}} "
            "into its name"
        )
    # Open to the machine alone, unless the configuration says otherwise.
    host = pipeline.http_host if "http_host" in pipeline.model_fields_set else HOST
    names = [*STAGES, *([ETL_METRICS] if wanted.with_metrics else [])]
    ports = _ports(names, host, pipeline.http_port if wanted.port is None else wanted.port)
    base = {**environ, **STAGE_ENVIRON, **redis}
    found = []
    for name, port in ports.items():
        module = f"services.{name}"
        arguments: tuple[str, ...] = ("--config", str(wanted.config.absolute()))
        variables = {"ETL__PIPELINE__HTTP_HOST": host, "ETL__PIPELINE__HTTP_PORT": str(port)}
        drain_seconds = pipeline.drain_seconds
        if name == ETL_METRICS:
            module, arguments = "services.exporter", ()
            variables = _of_etl_metrics(pipeline, {**environ, **redis}, host, port)
            drain_seconds = _ETL_METRICS_DRAIN_SECONDS
        found.append(
            Program(
                name,
                (sys.executable, "-m", module, *arguments),
                {**base, **variables},
                _ANY.get(host, host),
                port,
                drain_seconds,
            )
        )
    return found


def _holes(text: str) -> set[str]:
    return {hole for hole in ("{service}", "{pid}") if hole in text}


def _ports(names: list[str], host: str, first: int) -> dict[str, int]:
    """A port for each name: one after the other, or free ones where the first is 0."""
    if not first:
        drawn: set[int] = set()
        while len(drawn) < len(names):
            drawn.add(free_port())
        return dict(zip(names, sorted(drawn), strict=True))
    ports = {name: first + index for index, name in enumerate(names)}
    another = "name another first port with --port (0 = free ones) or pipeline.http_port"
    problems = [
        f"port {port} on {host}, for the {name}, {why}: {another}"
        for name, port in ports.items()
        if (why := _not_free(host, port))
    ]
    if problems:
        raise ConfigError(*problems)
    return ports


def _not_free(host: str, port: int) -> str:
    if port > 65_535:
        return "is beyond the last, 65535"
    return "" if can_bind(host, port) else "is in use or not ours to take"


def _of_etl_metrics(
    pipeline: PipelineSettings, environ: Mapping[str, str], host: str, port: int
) -> dict[str, str]:
    """etl-metrics reads no etl.yaml: what it needs of it, as its own variables.

    Raises :class:`ConfigError` for a password that is in no file.
    """
    password_file = environ.get("ETL__PIPELINE__REDIS_PASSWORD_FILE") or (
        pipeline.redis_password_file
    )
    for name, secret, file in (
        ("redis_password", pipeline.redis_password, password_file),
        (
            "redis_sentinel_password",
            pipeline.redis_sentinel_password,
            pipeline.redis_sentinel_password_file,
        ),
        ("metrics_password", pipeline.metrics_password, pipeline.metrics_password_file),
    ):
        if secret.get_secret_value() and not file:
            raise ConfigError(f"pipeline.{name}: etl-metrics reads it from a file: use {name}_file")
    variables = {
        "HTTP_HOST": host,
        "HTTP_PORT": str(port),
        "REDIS_URL": environ.get("ETL__PIPELINE__REDIS_URL") or pipeline.redis_url,
        "REDIS_PASSWORD_FILE": password_file,
        "REDIS_CA_FILE": pipeline.redis_ca_file,
        "REDIS_SENTINEL_USERNAME": pipeline.redis_sentinel_username,
        "REDIS_SENTINEL_PASSWORD_FILE": pipeline.redis_sentinel_password_file,
        "REDIS_NAMESPACE": pipeline.redis_namespace,
        "PASSWORD_FILE": pipeline.metrics_password_file,
        "LOG_LEVEL": pipeline.log_level,
    }
    return {f"ETL_METRICS_{name}": str(value) for name, value in variables.items() if value}
