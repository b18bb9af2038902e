"""Configuration of the simulator: variables ``SIMULATOR_…`` and flags of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import ConfigError
from common.secret_files import check_secret_mode, read_secret
from services.simulator.scenarios import Pace


class SimulatorSettings(BaseSettings):
    """The test application and the simulated ETL process. Flags go before the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SIMULATOR_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        cli_prog_name="python -m services.simulator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        allow_inf_nan=False,
    )

    password_file: Annotated[
        Path,
        Field(
            description="File with the password of /metrics and /scenario; there is no default"
            " password, and the file must not be open to everybody"
        ),
    ]
    username: Annotated[str, Field(min_length=1, description="User name that goes with it")] = (
        "prometheus"
    )
    http_host: Annotated[str, Field(description="Address to listen on")] = "0.0.0.0"
    http_port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes a free one")] = 8000
    tls_cert_file: Annotated[
        Path | None, Field(description="Certificate chain (PEM): turns HTTP into HTTPS")
    ] = None
    tls_key_file: Annotated[
        Path | None, Field(description="Private key (PEM) of tls_cert_file")
    ] = None
    drain_seconds: Annotated[
        float, Field(gt=0, le=300, description="How long an orderly stop may take, in seconds")
    ] = 5.0
    seed: Annotated[int, Field(description="Seed of everything that chance decides")] = 1
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="What goes to stdout; heartbeats are DEBUG"),
    ] = "INFO"

    busiest_rate_per_second: Annotated[
        float,
        Field(gt=0, le=10_000, description="Test application: requests a second, busiest hour"),
    ] = 20.0
    day_seconds: Annotated[
        float, Field(ge=60, description="Test application: length of a day, in seconds")
    ] = 86_400.0

    records_per_second: Annotated[
        float, Field(gt=0, le=100_000, description="Simulated ETL: records processed a second")
    ] = 10.0
    file_records_min: Annotated[
        int, Field(ge=1, description="Simulated ETL: records in the smallest file")
    ] = 50
    file_records_max: Annotated[
        int, Field(le=10_000_000, description="Simulated ETL: records in the largest file")
    ] = 500
    busy_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Simulated ETL: share of its time that it spends on files; the time for a"
            " file is records / records_per_second * busy_share",
        ),
    ] = 0.1
    failures_per_minute: Annotated[
        float, Field(ge=0, le=6_000, description="Simulated ETL: failed attempts a minute")
    ] = 1.0
    slow_factor: Annotated[
        float, Field(gt=1, description="Scenario slow: processing time is multiplied by it")
    ] = 6.0
    burst_failures_per_minute: Annotated[
        float,
        Field(gt=0, le=60_000, description="Scenario failure-burst: failed attempts a minute"),
    ] = 20.0
    low_throughput_share: Annotated[
        float, Field(gt=0, lt=1, description="Scenario low-throughput: share of the records left")
    ] = 0.1
    heartbeat_seconds: Annotated[
        float, Field(ge=0.1, le=60, description="Simulated ETL: seconds between two heartbeats")
    ] = 5.0
    etl_log_file: Annotated[
        Path | None,
        Field(description="Simulated ETL: file of its JSON log; not given: on stdout only"),
    ] = None
    etl_log_max_bytes: Annotated[
        int, Field(ge=4096, description="Size in bytes at which that file is rotated")
    ] = 10 * 2**20
    etl_log_backups: Annotated[
        int, Field(ge=1, le=100, description="How many rotated files are kept")
    ] = 5

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.file_records_min > self.file_records_max:
            raise PydanticCustomError(
                "pair",
                "SIMULATOR_FILE_RECORDS_MIN (--file-records-min) is above"
                " SIMULATOR_FILE_RECORDS_MAX (--file-records-max)",
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise PydanticCustomError(
                "pair",
                "SIMULATOR_TLS_CERT_FILE (--tls-cert-file) and"
                " SIMULATOR_TLS_KEY_FILE (--tls-key-file) need each other",
            )
        return self

    def password(self) -> str:
        """The password; raises :class:`ConfigError` if its file cannot be used."""
        try:
            check_secret_mode(self.password_file)
            return read_secret(self.password_file)
        except ValueError as error:
            raise ConfigError(f"{_named('password_file')}: {error}") from None

    def pace(self) -> Pace:
        """How fast the simulated ETL process works, and how its scenarios change that."""
        return Pace(
            records_per_second=self.records_per_second,
            busy_share=self.busy_share,
            failures_per_minute=self.failures_per_minute,
            slow_factor=self.slow_factor,
            burst_failures_per_minute=self.burst_failures_per_minute,
            low_throughput_share=self.low_throughput_share,
            heartbeat_seconds=self.heartbeat_seconds,
        )


def load_settings(arguments: Sequence[str]) -> SimulatorSettings:
    """Settings from flags and environment; raises :class:`ConfigError`, a line for each problem."""
    try:
        return SimulatorSettings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors()]
        raise ConfigError(*problems) from None


def _problem(details: ErrorDetails) -> str:
    if not details["loc"]:
        return f"simulator: {details['msg']}"
    field = str(details["loc"][0])
    message = "must be set, there is no default" if details["type"] == "missing" else details["msg"]
    return f"{_named(field)}: {message}"


def _named(field: str) -> str:
    return f"simulator: SIMULATOR_{field.upper()} (--{field.replace('_', '-')})"
