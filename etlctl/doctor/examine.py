"""Every section in turn; where a server is away, the others are looked at all the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from common.config import Settings
from etlctl.doctor.configuration import read
from etlctl.doctor.containers import look_at_containers
from etlctl.doctor.influxdb import look_at_influxdb
from etlctl.doctor.prometheus import look_at_prometheus
from etlctl.doctor.redis import look_at_redis
from etlctl.doctor.report import Report, failure

# Section → the section of the configuration whose secrets it needs.
_SECRETS = {"prometheus": "extract", "redis": "pipeline", "influxdb": "load"}


def examine(report: Report, file: Path, sections: Collection[str]) -> bool:
    """Look at the sections; whether the configuration can be used, secrets apart."""
    only_configuration = Report()
    settings = read(report if "configuration" in sections else only_configuration, file)
    looks: dict[str, Callable[[Report, Settings], None]] = {
        "prometheus": look_at_prometheus,
        "redis": lambda report, settings: look_at_redis(report, settings, file),
        "influxdb": look_at_influxdb,
    }
    for section, look in looks.items():
        if section not in sections or not settings:
            continue
        if (known := settings.get(_SECRETS[section])) is None:
            do = "mend the secret: etlctl config check names it"
            report.add(section, "secrets", failure("was not looked at: its secrets are unfit", do))
        else:
            look(report, known)
    if "containers" in sections:
        look_at_containers(report)
    if not settings and "configuration" not in sections:
        report.findings += only_configuration.findings
    return bool(settings)
