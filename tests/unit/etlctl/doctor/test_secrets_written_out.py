"""Secrets in a configuration that every user of the machine can read are named by their keys."""

from __future__ import annotations

from pathlib import Path

from etlctl.doctor.configuration import read
from etlctl.doctor.report import Report

CONFIG = """\
extract:
  sources:
    - {name: a, url: 'http://a:1', labels: {site: a}, headers: {X-Key: k3y}}
    - {name: b, url: 'http://b:1', labels: {site: b}, auth: {bearer_token: t0ken}}
load:
  influxdb: {url: 'http://i:8086', org: o, bucket: b, token: w0rd, headers: {X-Tenant: t3nant}}
"""


def test_those_of_sources_and_headers_are_found(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    file.chmod(0o644)
    report = Report()

    read(report, file)

    said = " ".join(word for _, text in report.lines() for word in text.split())
    assert "extract.sources[1].auth.bearer_token stands in" in said
    assert "load.influxdb.token stands in" in said
    assert "extract.sources[0].headers.X-Key stands in" in said
    assert "load.influxdb.headers.X-Tenant stands in" in said
    assert "named by extract.sources[0].header_files.X-Key" in said
    assert not [secret for secret in ("t0ken", "w0rd", "k3y", "t3nant") if secret in said]
