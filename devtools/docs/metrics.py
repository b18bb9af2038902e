"""Renders docs/metrics.md from the tables: ``python -m devtools.docs.metrics``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.exit_codes import MEANINGS
from common.runtime.events_table import EVENTS
from common.runtime.metrics_table import GROUPS, MetricSpec

_INTRODUCTION = """\
# Metrics and events

<!-- Rendered by `python -m devtools.docs.metrics`; edit the tables in common/. -->

Every service serves `/metrics` in Prometheus' text format, or OpenMetrics where the client accepts
it. Services differ in the scrape's `job` label, whose values stand below; `test-app` is
the simulator. Units are base units, counters end in `_total`, and no label holds an identifier:
windows and entries are named in the log. Beside these, each process exports the usual `process_*`
metrics.

A counter of samples rises only after the settlement or commit that it speaks of has succeeded.
"""

_ENDPOINTS = """\
## Health and exit codes

| Path | Status 200 while |
| --- | --- |
| `/livez` | the loop has ticked within `pipeline.live_seconds` |
| `/readyz` | every dependency that the service named serves it, and it is not stopping |
| `/health` | both |

Otherwise the status is 503; the body, JSON, says why. A service that is not live should be
restarted, one that is not ready waits for something else and recovers by itself.

The first SIGTERM or SIGINT lets a service finish its work in progress, for at most
`pipeline.drain_seconds`; a second one ends it at once. Its work in progress stays pending, and
another worker takes it over.
"""

_EVENTS = """\
## Events

Each is one JSON line in the log, with `timestamp`, `level`, `service`, `event` and the event's
fields; those with a metric move it by the same call, so log and metrics cannot disagree.
"""


def render() -> str:
    """The text of docs/metrics.md."""
    codes = [(f"`{code.value}`", code.name, meaning) for code, meaning in MEANINGS.items()]
    parts = [_INTRODUCTION, f"{_ENDPOINTS}\n{_table(('Exit code', 'Name', 'Meaning'), codes)}"]
    for title, specs in GROUPS:
        parts.append(f"## {title}\n\n{_metrics(specs)}")
    rows = [
        (f"`{name}`", spec.level, f"`{spec.metric}`" if spec.metric else "", spec.help)
        for name, spec in EVENTS.items()
    ]
    parts.append(f"{_EVENTS}\n{_table(('Event', 'Level', 'Metric', 'Meaning'), rows)}")
    return "\n".join(parts)


def _metrics(specs: Sequence[MetricSpec]) -> str:
    rows = [
        (
            f"`{spec.name}`",
            spec.kind,
            ", ".join(f"`{label}`" for label in spec.labels),
            ", ".join(spec.services),
            f"{spec.help}.",
        )
        for spec in specs
    ]
    return _table(("Metric", "Type", "Labels", "Services", "Meaning"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(render())
