"""Secrets in a configuration that every user of the machine can read are named by their keys."""

from __future__ import annotations

from pathlib import Path

from etlctl.doctor.configuration import read
from etlctl.doctor.report import Report

CONFIG = """\
extract:
  sources:
    - {name: a, url: 'http://a:1', labels: {site: a}}
    - {name: b, url: 'http://b:1', labels: {site: b}, auth: {bearer_token: t0ken}}
load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b, token: w0rd}}
"""


def test_those_of_each_source_are_found(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    file.chmod(0o644)
    report = Report()

    read(report, file)

    said = "\n".join(text for _, text in report.lines())
    assert "extract.sources[1].auth.bearer_token stands in" in said
    assert "load.influxdb.token stands in" in said
    assert "t0ken" not in said and "w0rd" not in said
