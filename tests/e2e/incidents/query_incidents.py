"""What can be odd about what a query gives; see tests/e2e/incidents/all_incidents.py."""

from __future__ import annotations

from typing import Any

from tests.e2e.incidents.alert_world import AlertWorld, Incident
from tests.support.remote_write import histogram, push, series

# Of another Prometheus than this one.
ABSENT: dict[str, Any] = {"name": "absent", "select": 'up{job="elsewhere"}'}
NATIVE: dict[str, Any] = {"name": "native", "select": '{job="pushed"}', "may_be_empty": True}
PUSHED_SECONDS = 20


def _odd_queries(world: AlertWorld) -> None:
    """One has none but histograms, pushed for the time that an extractor takes to begin."""
    now_ms = round(world.now_seconds() * 1000)
    times_ms = range(now_ms, now_ms + 1000 * PUSHED_SECONDS, 1000)
    pushed = (histogram(ms, 7) for ms in times_ms)
    push(world.stack.prometheus, series({"__name__": "latency", "job": "pushed"}, pushed))
    world.queries(lambda queries: queries.extend([ABSENT, NATIVE]))
    world.restart("extractor")


def _no_surprise(world: AlertWorld) -> None:
    """What is empty is said to be so on purpose; its past is not extracted again for that."""
    allowed = {**ABSENT, "may_be_empty": True}
    world.queries(lambda queries: queries.__setitem__(queries.index(ABSENT), allowed))
    world.restart("extractor")


UNKNOWN = "transfrom: {}\n"


def _misspell(world: AlertWorld) -> None:
    """In the file alone: nobody is restarted."""
    path = world.stack.config_path
    path.write_text(path.read_text() + UNKNOWN)


def _spell(world: AlertWorld) -> None:
    path = world.stack.config_path
    path.write_text(path.read_text().replace(UNKNOWN, ""))


MISSPELT = Incident(
    "a configuration that is not valid",
    {"EtlConfigRefused": {"job": "transformer"}},
    _misspell,
    _spell,
)

ODD_QUERIES = Incident(
    "a query that matches nothing, and one of native histograms",
    {
        "EtlQueryEmpty": {"query": "absent", "tier": "hot"},
        "EtlNativeHistogramsDropped": {},
    },
    _odd_queries,
    _no_surprise,
)
