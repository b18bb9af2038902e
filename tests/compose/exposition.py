"""Values of metrics in the text that a target serves."""

from __future__ import annotations

import re


def metric_values(text: str, name: str) -> list[float]:
    """The values of a metric's series in an exposition; labels may be given as in PromQL."""
    wanted, _, label = name.partition("{")
    lines = re.findall(rf"^{re.escape(wanted)}(?:{{([^}}]*)}})? (\S+)", text, re.MULTILINE)
    return [float(value) for labels, value in lines if label.rstrip("}") in labels]


def metric_value(text: str, name: str) -> float:
    """Their sum."""
    return sum(metric_values(text, name))
