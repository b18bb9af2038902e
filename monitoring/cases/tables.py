"""How a table of cases is written down."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.model import Case, Firing


def fires(
    alert: str,
    name: str,
    series: Mapping[str, str],
    *firing: Firing,
    at: float,
    every: float = 15,
) -> Case:
    """The alert fires at ``at`` seconds, with these instances and no others."""
    return Case(alert, name, series, at, firing, every, "fires")


def quiet(
    alert: str, name: str, series: Mapping[str, str], *, at: float, every: float = 15
) -> Case:
    """The alert does not fire at ``at`` seconds."""
    return Case(alert, name, series, at, (), every, "quiet")


def over(alert: str, name: str, series: Mapping[str, str], *, at: float, every: float = 15) -> Case:
    """It does not fire at ``at`` seconds, when its cause is over, whatever a mean still says."""
    return Case(alert, name, series, at, (), every, "over")


def absent(alert: str, name: str, *firing: Firing, series: Mapping[str, str] | None = None) -> Case:
    """What becomes of the alert after ten minutes without any of its series."""
    return Case(alert, name, series or {"up{job='other', instance='o:1'}": "1x40"}, 600, firing,
                15, "absent")  # fmt: skip


def of(description: str, **labels: str) -> Firing:
    """An instance with these labels beside the severity."""
    return Firing(description, labels)
