"""The scrape jobs of a configuration, as Prometheus writes it (``/api/v1/status/config``).

It writes every key in its place with its default, so few lines tell all that is asked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_JOB = re.compile(r"^- job_name: (.+)\n((?:  .*\n?)*)", re.MULTILINE)
_VALUE = re.compile(r"^  (scrape_interval|scrape_timeout|metrics_path): (\S+)$", re.MULTILINE)
_HONOR_LABELS = re.compile(r"^  honor_labels: true$", re.MULTILINE)
_IGNORE_TIMES = re.compile(r"^  honor_timestamps: false$", re.MULTILINE)
_METRIC_RULES = re.compile(r"^  metric_relabel_configs:\n((?:  [- ] .*\n?)*)", re.MULTILINE)
# Rules that may write the label ``job``.
_WRITES_JOB = re.compile(r"target_label: (?:\"?job\"?$|.*\$)|action: label", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Job:
    """One scrape job.

    ``any_job``: its series may have another ``job``, ``relabelled``: its targets may.
    ``takes_times``: times that are written beside a sample are taken.
    """

    name: str
    interval: str
    timeout: str
    path: str
    any_job: bool
    relabelled: bool
    takes_times: bool


def jobs_of(config: str) -> dict[str, Job]:
    """By their names."""
    return {job.name: job for job in _jobs(config)}


def _jobs(config: str) -> Iterator[Job]:
    for name, body in _JOB.findall(config):
        values = dict(_VALUE.findall(body))
        rules = _METRIC_RULES.search(body)
        yield Job(
            name.strip("'\""),
            values.get("scrape_interval", ""),
            values.get("scrape_timeout", ""),
            values.get("metrics_path", ""),
            any_job=bool(
                _HONOR_LABELS.search(body) or (rules is not None and _WRITES_JOB.search(rules[1]))
            ),
            relabelled=_WRITES_JOB.search(body) is not None,
            takes_times=_IGNORE_TIMES.search(body) is None,
        )
