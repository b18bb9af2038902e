"""What an alert, a recording rule and a test case of them consist of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitoring.thresholds import RUNBOOK_URL

Severity = Literal["critical", "warning", "none"]

PREFIX = "Etl"


@dataclass(frozen=True, slots=True)
class Limit:
    """What the query's value is compared with, apart from the query.

    Grafana compares in an expression of its own; a comparison inside the query would return
    nothing while all is well, which Grafana takes for missing data. So ``query`` has a value
    whenever its metrics have one.
    """

    operator: Literal[">", "<"]
    value: float

    def __str__(self) -> str:
        return f"{self.operator} {self.value:g}"


@dataclass(frozen=True, slots=True)
class PanelRef:
    """The panel that shows what an alert speaks of."""

    dashboard: str
    title: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    ``summary`` is the same for all its instances. ``description`` is a template in the part of the
    language that Prometheus and Grafana share: ``{{ .Labels.job }}``, and ``{{ .Value }}`` with
    the functions ``humanize``, ``humanizeDuration`` and ``humanizePercentage``.
    """

    name: str
    severity: Severity
    summary: str
    description: str
    query: str
    limit: Limit
    for_seconds: float
    panel: PanelRef

    @property
    def expr(self) -> str:
        """The whole condition, as Prometheus evaluates it."""
        return f"(\n{_indented(self.query)}\n) {self.limit}"

    @property
    def slug(self) -> str:
        """``etl-stage-down`` for ``EtlStageDown``: Grafana's uid, and the runbook's anchor."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower()

    @property
    def runbook_url(self) -> str:
        """Where docs/runbook.md says what to do; a heading's anchor is its text in lower case."""
        return f"{RUNBOOK_URL}#{self.name.lower()}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels that every instance gets beside those of its series."""
        return {"severity": self.severity}


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule, named ``level:metric:operations``."""

    record: str
    expr: str
    help: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, at one interval."""

    name: str
    interval_seconds: float
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class Firing:
    """An instance of an alert that a case expects: its own labels, and its description."""

    description: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of an alert: these series, at this time, lead to these instances.

    ``name`` is a sentence that goes on after "it". ``series`` are selectors with values in
    promtool's notation, one for each ``interval_seconds``. ``over``: quiet although its cause was
    there until shortly before.
    """

    alert: str
    name: str
    series: Mapping[str, str]
    at_seconds: float
    firing: tuple[Firing, ...] = ()
    interval_seconds: float = 15
    kind: Literal["fires", "quiet", "absent", "over"] = "fires"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
