"""When a message is sent: what lies between a fault and the alert's message, added up.

Each time is the longest that it can be. Prometheus sees a fault, Grafana evaluates, the alert waits
for its ``for``, and the notification policy groups. The end of a fault goes the same way without
the ``for``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from monitoring.model import Alert, Group, Severity
from monitoring.thresholds import Thresholds

# The longest that on-call may have to wait for a message about what stands still, or its end.
PROMISED_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Notify:
    """How soon a severity is sent, how soon a change is, and how often again while it lasts."""

    group_wait_seconds: float
    group_interval_seconds: float
    repeat_interval_seconds: float


NOTIFY: dict[Severity, Notify] = {
    "critical": Notify(10, 30, 3600),
    "warning": Notify(30, 120, 12 * 3600),
    "none": Notify(0, 60, 300),  # the heartbeat
}


@dataclass(frozen=True, slots=True)
class Told:
    """How long it takes until the metrics tell a fault, and its end, before any scrape.

    ``scrapes``, ``found``: after how many intervals of scrapes Prometheus knows each.
    """

    fault_seconds: float = 0
    end_seconds: float = 0
    scrapes: float = 1
    found: float = 1


# A target that hangs is down after an interval and a time-out. One that is gone from discovery is
# marked stale after two intervals and a tenth. One that is back must be found (an interval), which
# is held back for 5 s, and is scraped within another.
_TARGET = Told(end_seconds=5, scrapes=2.1, found=2)

# What must be told within PROMISED_SECONDS: that a stage, Redis, the sink or a scrape is dead.
PROMPT: dict[str, Told] = {
    "EtlStageDown": _TARGET,
    "EtlMetricsEndpointUnavailable": _TARGET,
    # etl-metrics reads Redis every 10 s, and gives a read that hangs 5 s.
    "EtlRedisUnreachable": Told(fault_seconds=15, end_seconds=10),
    # Samples come each 15 s; five posts in a row fail within 8 s of waits. Afterwards the last of
    # them wait 30 s at most. A sink that hangs takes as much longer as its time-outs.
    "EtlCircuitOpen": Told(fault_seconds=15 + 8, end_seconds=30),
    # Refused at the first post; tried again each 30 s.
    "EtlSinkRefusesUs": Told(fault_seconds=15, end_seconds=30),
    # Grafana asks itself: nothing is scraped.
    "EtlPrometheusUnreachable": Told(scrapes=0, found=0),
}


def evaluation_seconds(group: Group, t: Thresholds) -> float:
    """How often Grafana evaluates a group's alerts; those of the objective are of its minutes."""
    if any(alert.name in PROMPT for alert in group.alerts):
        return t.grafana_prompt_evaluation_seconds
    return max(group.interval_seconds, t.grafana_evaluation_seconds)


def first_message_seconds(alert: Alert, group: Group, t: Thresholds) -> float:
    """From the fault to the message."""
    told, every = PROMPT[alert.name], evaluation_seconds(group, t)
    waits = math.ceil(alert.for_seconds / every) * every
    return (
        told.fault_seconds
        + told.scrapes * t.scrape_interval_seconds
        + every
        + waits
        + NOTIFY[alert.severity].group_wait_seconds
    )


def resolved_seconds(alert: Alert, group: Group, t: Thresholds) -> float:
    """From the repair to the message that it is over.

    An alert whose series ends, as ``absent`` has it, is over at the second evaluation without it.
    """
    told, every = PROMPT[alert.name], evaluation_seconds(group, t)
    return (
        told.end_seconds
        + told.found * t.scrape_interval_seconds
        + 2 * every
        + NOTIFY[alert.severity].group_interval_seconds
    )
