"""What each scenario does to the simulated ETL process, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from common.runtime.etl_log import Scenario

RECOVER = "recover"  # what an operator says to go back to normal

# What can be requested, and what is then in force.
REQUESTS: dict[str, Scenario] = {
    "outage": "outage",
    "stall": "stall",
    "slow": "slow",
    "failure-burst": "failure-burst",
    "low-throughput": "low-throughput",
    RECOVER: "normal",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How the process works; SimulatorSettings says what each number means and in which unit."""

    records_per_second: float
    busy_share: float
    failures_per_minute: float
    slow_factor: float
    burst_failures_per_minute: float
    low_throughput_share: float
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the process behaves in one scenario."""

    failures_per_minute: float
    healthy: bool = True
    works: bool = True  # begins and ends files, well or badly
    time_factor: float = 1.0  # on the processing time of a file
    records_factor: float = 1.0  # on the records of a file


def behaviours(pace: Pace) -> dict[Scenario, Behaviour]:
    """The table. Each scenario spoils one thing, so that it fires one alert and not the others.

    A process that does nothing (outage, stall) has no throughput either.
    """
    usual = pace.failures_per_minute
    return {
        "normal": Behaviour(usual),
        "outage": Behaviour(0.0, healthy=False, works=False),
        "stall": Behaviour(0.0, works=False),
        "slow": Behaviour(usual, time_factor=pace.slow_factor),
        "failure-burst": Behaviour(pace.burst_failures_per_minute),
        "low-throughput": Behaviour(usual, records_factor=pace.low_throughput_share),
    }
