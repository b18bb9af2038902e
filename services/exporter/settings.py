"""Settings of etl-metrics: flags, ``ETL_METRICS_…``, and the pipeline's variables for Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import options
from common.errors import ConfigError
from common.options import LOG_LEVELS, Options, setting
from common.redis_url import asks_sentinels, is_tls

PREFIX = "ETL_METRICS_"

_interval = options.seconds(">= 0.05", "<= 86400")


def _pipeline(name: str) -> tuple[str, ...]:
    return (f"ETL__PIPELINE__{name}",)


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """What etl-metrics does. Without ``redis_url`` it reads no Redis."""

    http_host: str = setting(options.text, "0.0.0.0", "address to listen on")
    http_port: int = setting(options.port, "8083", "port to listen on; 0 takes a free one")
    username: str = setting(
        options.username, "prometheus", "user name of /metrics, if there is a password"
    )
    password: str | None = setting(
        options.secret, None, "file with the password of /metrics; none: open"
    )
    log_path: Path | None = setting(Path, None, "JSON log of the ETL process; none: not followed")  # noqa: RUF009
    log_poll_seconds: float = setting(_interval, "1", "how often the log is read")
    silent_seconds: float = setting(
        _interval,
        "30",
        "silence of the log after which its process counts as unhealthy (at least three of its"
        " heartbeats)",
    )
    redis_url: str | None = setting(
        options.redis_url,
        None,
        "Redis of the pipeline; none: not read",
        aliases=_pipeline("REDIS_URL"),
    )
    redis_password: str | None = setting(
        options.secret,
        None,
        "file with the password of Redis",
        aliases=_pipeline("REDIS_PASSWORD_FILE"),
    )
    redis_ca_file: str | None = setting(
        options.readable_file,
        None,
        "PEM file with the authorities, beside the system's, that may vouch for a Redis behind"
        " rediss://",
        aliases=_pipeline("REDIS_CA_FILE"),
    )
    redis_sentinel_username: str | None = setting(
        options.text,
        None,
        "user that the Sentinels know; none: their user default",
        aliases=_pipeline("REDIS_SENTINEL_USERNAME"),
    )
    redis_sentinel_password: str | None = setting(
        options.secret,
        None,
        "file with the password of the Sentinels",
        aliases=_pipeline("REDIS_SENTINEL_PASSWORD_FILE"),
    )
    redis_namespace: str = setting(
        options.namespace,
        "etl",
        "prefix of the pipeline's keys",
        aliases=_pipeline("REDIS_NAMESPACE"),
    )
    redis_poll_seconds: float = setting(_interval, "10", "how often Redis is read")
    worker_silent_seconds: float = setting(
        _interval, "60", "silence after which a worker is no longer counted as alive"
    )
    runbook_url: str | None = setting(
        options.http_url,
        None,
        "address of docs/runbook.md, for the links of the status page; none: Grafana's, if that is"
        " known",
    )
    grafana_url: str | None = setting(
        options.http_url, None, "address of Grafana, for the links of the status page"
    )
    log_level: str = setting(
        options.log_level,
        "INFO",
        f"least level that is logged: {', '.join(LOG_LEVELS)}",
        aliases=_pipeline("LOG_LEVEL"),
    )


OPTIONS = Options(ExporterSettings, "etl-metrics", PREFIX)


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> ExporterSettings:
    """The settings. Raises :class:`ConfigError` with one line for each problem."""
    settings = OPTIONS.read(
        arguments,
        environ,
        description="etl-metrics: exports the log of an ETL process, and the ledger in Redis.",
        epilog="Those of Redis may also have the pipeline's names: ETL__PIPELINE__REDIS_URL.",
    )
    problems = []
    if settings.log_path is None and settings.redis_url is None:
        one, other = OPTIONS.called("log_path"), OPTIONS.called("redis_url")
        problems.append(
            f"etl-metrics: {one} or {other}: set at least one, or there is nothing to export"
        )
    if settings.redis_ca_file and not is_tls(settings.redis_url or ""):
        problems.append(
            OPTIONS.problem(
                "redis_ca_file", "would never be used: redis_url does not begin with rediss://"
            )
        )
    user, password = settings.redis_sentinel_username, settings.redis_sentinel_password
    asked = asks_sentinels(settings.redis_url or "")
    if (user or password) and not asked:
        name = "redis_sentinel_username" if user else "redis_sentinel_password"
        unused = "would never be used: redis_url names no Sentinels"
        problems.append(OPTIONS.problem(name, unused))
    elif user and not password:
        problems.append(OPTIONS.problem("redis_sentinel_username", "needs a password beside it"))
    if problems:
        raise ConfigError(*problems)
    return settings
