"""Settings of the simulator: flags, and variables ``SIMULATOR_…`` of the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from common import options
from common.errors import ConfigError
from common.options import LOG_LEVELS, Options, setting
from services.simulator.scenarios import Pace

PREFIX = "SIMULATOR_"
# etlctl's, which may share our environment.
_OF_ETLCTL = ("URL", "CA_FILE")


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The test application and the simulated ETL process."""

    password: str = setting(
        options.secret,
        None,
        "File with the password of /metrics and /scenario; there is no default password, and the"
        " file must not be open to everybody",
        required=True,
    )
    username: str = setting(options.username, "prometheus", "User name that goes with it")
    http_host: str = setting(options.text, "0.0.0.0", "Address to listen on")
    http_port: int = setting(options.port, "8000", "Port; 0 takes a free one")
    tls_cert_file: Path | None = setting(  # noqa: RUF009
        Path, None, "Certificate chain (PEM): turns HTTP into HTTPS"
    )
    tls_key_file: Path | None = setting(  # noqa: RUF009
        Path, None, "Private key (PEM) of tls_cert_file"
    )
    drain_seconds: float = setting(
        options.seconds("> 0", "<= 300"), "5", "How long an orderly stop may take"
    )
    seed: int = setting(options.whole(), "1", "Seed of everything that chance decides")
    log_level: str = setting(
        options.log_level,
        "INFO",
        f"What goes to stdout ({', '.join(LOG_LEVELS)}); heartbeats are DEBUG",
    )
    busiest_rate_per_second: float = setting(
        options.number("> 0", "<= 10000"),
        "20",
        "Test application: requests a second, busiest hour",
    )
    day_seconds: float = setting(
        options.seconds(">= 60"), "86400", "Test application: length of a day"
    )
    records_per_second: float = setting(
        options.number("> 0", "<= 100000"), "10", "Simulated ETL: records processed a second"
    )
    file_records_min: int = setting(
        options.whole(">= 1"), "50", "Simulated ETL: records in the smallest file"
    )
    file_records_max: int = setting(
        options.whole(">= 1", "<= 10000000"), "500", "Simulated ETL: records in the largest file"
    )
    busy_share: float = setting(
        options.number("> 0", "<= 1"),
        "0.1",
        "Simulated ETL: share of its time that it spends on files; the time for a file is"
        " records / records_per_second * busy_share",
    )
    failures_per_minute: float = setting(
        options.number(">= 0", "<= 6000"), "1", "Simulated ETL: failed attempts a minute"
    )
    slow_factor: float = setting(
        options.number("> 1"), "6", "Scenario slow: processing time is multiplied by it"
    )
    burst_failures_per_minute: float = setting(
        options.number("> 0", "<= 60000"),
        "20",
        "Scenario failure-burst: failed attempts a minute",
    )
    low_throughput_share: float = setting(
        options.number("> 0", "< 1"),
        "0.1",
        "Scenario low-throughput: share of the records left",
    )
    heartbeat_seconds: float = setting(
        options.seconds(">= 0.1", "<= 60"), "5", "Simulated ETL: time between two heartbeats"
    )
    etl_log_file: Path | None = setting(  # noqa: RUF009
        Path, None, "Simulated ETL: file of its JSON log; not given: on stdout only"
    )
    etl_log_max_bytes: int = setting(
        options.size(">= 4096"), "10MiB", "Size at which that file is rotated"
    )
    etl_log_backups: int = setting(
        options.whole(">= 1", "<= 100"), "5", "How many rotated files are kept"
    )

    def pace(self) -> Pace:
        """How fast the simulated ETL process works, and how its scenarios change that."""
        return Pace(**{each.name: getattr(self, each.name) for each in fields(Pace)})


OPTIONS = Options(SimulatorSettings, "simulator", PREFIX, _OF_ETLCTL)


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> SimulatorSettings:
    """The settings. Raises :class:`ConfigError` with one line for each problem."""
    settings = OPTIONS.read(
        arguments,
        environ,
        description="The test application and the simulated ETL process.",
        epilog="Flags go before the environment.",
    )
    problems = []
    if settings.file_records_min > settings.file_records_max:
        least, most = OPTIONS.called("file_records_min"), OPTIONS.called("file_records_max")
        problems.append(f"simulator: {least} is above {most}")
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        cert, key = OPTIONS.called("tls_cert_file"), OPTIONS.called("tls_key_file")
        problems.append(f"simulator: {cert} and {key} need each other")
    if problems:
        raise ConfigError(*problems)
    return settings
