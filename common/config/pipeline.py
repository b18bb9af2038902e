"""Settings of what all services share: the interval, Redis, the log, HTTP, limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from common.config.fields import (
    Bytes,
    CheckedSection,
    Count,
    Host,
    OutputPath,
    Problem,
    Seconds,
    Section,
    Unit,
    invalid,
)
from common.config.secrets import NO_SECRET, SecretFile, from_file
from common.config.shard import ShardName
from common.config.tls_files import authorities
from common.redis_url import asks_sentinels, check_redis_url, is_tls

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_secret = BeforeValidator(from_file("pipeline"))
_authorities = AfterValidator(authorities("pipeline"))


def _check_redis_url(url: str) -> str:
    try:
        check_redis_url(url)
    except ValueError as error:
        raise invalid(str(error)) from None
    return url


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class DeadLetterSettings(Section):
    """Where what cannot be delivered is kept, and how much of it."""

    max_entries: Annotated[Count, Unit("dead letters")] = Field(
        100_000,
        ge=1,
        description="Dead letters that are kept; at this number entries with more wait.",
    )
    sample_entries: Annotated[Count, Unit("dead letters")] = Field(
        100,
        ge=0,
        description="Dead letters of one query, stage, reason and measurement that are kept; what "
        "follows is only counted, by window, and can be extracted again by `etlctl dead-letters "
        "replay`; 0 = all are kept.",
    )
    mirror_path: OutputPath = Field(
        None, min_length=1, description="File that every dead letter is also appended to."
    )


class PipelineSettings(CheckedSection):
    """What all services share."""

    interval_seconds: Seconds = Field(
        15,
        ge=1,
        le=86_400,
        description="How often new windows are planned, and the grid that windows of raw samples "
        "lie on.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = Field(
        "INFO", description="Least level that is logged; DEBUG adds tracebacks."
    )
    log_file: OutputPath = Field(
        None,
        min_length=1,
        description="File that the log is also written to, rotated by size. Processes must not "
        "share one: `{service}` and `{pid}` in it are filled in.",
    )
    log_file_max_bytes: Bytes = Field(
        10 << 20, ge=4096, description="Size at which `log_file` is rotated."
    )
    log_file_backups: Annotated[Count, Unit("files")] = Field(
        5, ge=1, le=1000, description="Rotated log files that are kept."
    )
    redis_url: Annotated[str, AfterValidator(_check_redis_url)] = Field(
        "redis://localhost:6379/0",
        description="Redis; `rediss://` for TLS, `unix://` for a socket, `redis://USER@HOST` for a "
        "user of its ACL; `redis+sentinel://USER@HOST1,HOST2:PORT,HOST3/NAME/DB` "
        "(`rediss+sentinel://`) asks Sentinels, on port 26379 or PORT, for the master NAME.",
    )
    redis_password_file: SecretFile = Field(None, description="File that holds `redis_password`.")
    redis_password: Annotated[SecretStr, _secret] = Field(
        NO_SECRET, description="Password of Redis; empty = none."
    )
    redis_ca_file: Annotated[str | None, _authorities] = Field(
        None,
        description="PEM file with the authorities, beside the system's, that may vouch for a "
        "Redis behind `rediss://`.",
    )
    redis_sentinel_username: str | None = Field(
        None,
        min_length=1,
        description="User that Sentinels know this pipeline as; none = their user `default`.",
    )
    redis_sentinel_password_file: SecretFile = Field(
        None, description="File that holds `redis_sentinel_password`."
    )
    redis_sentinel_password: Annotated[SecretStr, _secret] = Field(
        NO_SECRET,
        description="Password of the Sentinels in `redis_url`, not of the master; empty = none.",
    )
    redis_namespace: str = Field(
        "etl",
        pattern=r"^[a-zA-Z0-9_.-]+$",
        max_length=64,
        description="Prefix of all keys; pipelines that share a Redis need one each.",
    )
    shard: ShardName | None = Field(
        None,
        description="This pipeline's share of `extract.queries`, such as `2/8`: each of the eight "
        "has the same file, a Redis of its own, and the queries that no other has; none = all.",
    )
    http_host: Host = Field(
        "0.0.0.0",
        min_length=1,
        description="Address that /metrics, /livez, /readyz and /health listen on.",
    )
    http_port: Count = Field(
        0, ge=0, le=65_535, description="Port for them; 0 = a free one, which the log names."
    )
    metrics_password_file: SecretFile = Field(
        None, description="File that holds `metrics_password`."
    )
    metrics_password: Annotated[SecretStr, _secret] = Field(
        NO_SECRET,
        description="Password of /metrics, with the user `prometheus`; empty = open to everybody. "
        "/livez, /readyz and /health are always open.",
    )
    live_seconds: Seconds = Field(
        60, gt=0, description="Age of the loop's last tick at which /livez fails."
    )
    entry_lease_seconds: Seconds = Field(
        30, gt=0, description="How long a worker that went silent keeps its stream entries."
    )
    poison_crashes: Annotated[Count, Unit("crashes")] = Field(
        3,
        ge=2,
        description="Workers that an entry may crash before it becomes a dead letter, the last one "
        "alone.",
    )
    drain_seconds: Seconds = Field(
        25, gt=0, description="How long a stopping service may take to finish its work in progress."
    )
    read_entries: Annotated[Count, Unit("entries")] = Field(
        8, ge=1, le=1000, description="Stream entries taken at a time."
    )
    high_water_bytes: Bytes = Field(
        256 << 20,
        ge=1,
        description="Bytes in flight, as Redis allocates them and raw samples as they will be once "
        "transformed, at which extraction pauses.",
    )
    low_water_bytes: Bytes = Field(
        default_factory=lambda data: data.get("high_water_bytes", 0) // 2,
        ge=0,
        description="Bytes in flight at which it resumes; half of `high_water_bytes` by default.",
    )
    watermark_seconds: Seconds = Field(
        10,
        gt=0,
        description="How often the loader writes the loaded watermark to the sink, from which the "
        "pipeline resumes if Redis loses everything.",
    )
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings, description="")

    def _problems(self) -> Iterator[Problem]:
        if self.low_water_bytes >= self.high_water_bytes:
            yield Problem(
                ("low_water_bytes",),
                f"is {self.low_water_bytes}: it must be below high_water_bytes "
                f"({self.high_water_bytes})",
            )
        if self.redis_ca_file is not None and not is_tls(self.redis_url):
            yield Problem(
                ("redis_ca_file",), "would never be used: redis_url does not begin with rediss://"
            )
        yield from self._sentinel_problems()
        if self.interval_seconds * 1000 != round(self.interval_seconds * 1000):
            yield Problem(("interval_seconds",), "must be a whole number of milliseconds")

    def _sentinel_problems(self) -> Iterator[Problem]:
        given = {
            "redis_sentinel_username": self.redis_sentinel_username,
            "redis_sentinel_password_file": self.redis_sentinel_password_file,
            "redis_sentinel_password": self.redis_sentinel_password.get_secret_value(),
        }
        named = [name for name, value in given.items() if value]
        if named and not asks_sentinels(self.redis_url):
            yield Problem((named[0],), "would never be used: redis_url names no Sentinels")
        elif named == ["redis_sentinel_username"]:
            yield Problem(
                ("redis_sentinel_username",), "needs redis_sentinel_password_file beside it"
            )
