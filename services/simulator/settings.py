"""Configuration of the simulator: variables ``SIMULATOR_…`` and flags of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import ConfigError


class SimulatorSettings(BaseSettings):
    """The test application of the simulator. Flags go before environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="SIMULATOR_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        cli_prog_name="python -m services.simulator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    password_file: Annotated[
        Path, Field(description="File with the password of /metrics; there is no default password")
    ]
    username: Annotated[str, Field(min_length=1, description="User name of /metrics")] = (
        "prometheus"
    )
    http_host: Annotated[str, Field(description="Address to listen on")] = "0.0.0.0"
    http_port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes a free one")] = 8000
    seed: Annotated[int, Field(description="Seed of the traffic")] = 1
    busiest_rate_per_second: Annotated[
        float, Field(gt=0, le=10_000, description="Requests per second in the busiest hour")
    ] = 20.0
    day_seconds: Annotated[
        float, Field(ge=60, description="Length of a simulated day, in seconds")
    ] = 86_400.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def password(self) -> str:
        """The password; raises :class:`ConfigError` if the file cannot be read or is empty."""
        try:
            text = self.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ConfigError(f"simulator: password file {self.password_file}: {why}") from error
        # Editors end a file with a line break; everything else belongs to the password.
        password = text.rstrip("\r\n")
        if not password:
            raise ConfigError(f"simulator: password file {self.password_file}: it is empty")
        return password


def load_settings(arguments: Sequence[str]) -> SimulatorSettings:
    """Settings from flags and environment; raises :class:`ConfigError`, a line for each problem."""
    try:
        return SimulatorSettings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors()]
        raise ConfigError(*problems) from None


def _problem(details: ErrorDetails) -> str:
    field = str(details["loc"][0]) if details["loc"] else "?"
    message = "must be set, there is no default" if details["type"] == "missing" else details["msg"]
    return f"simulator: SIMULATOR_{field.upper()} (--{field.replace('_', '-')}): {message}"
