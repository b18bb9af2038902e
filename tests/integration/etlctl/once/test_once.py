"""What a range would become is shown, with what is dropped by which rule, and written on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.exit_codes import ExitCode
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run

SELECT = '{job="prometheus",__name__=~"up|scrape_.*"}'


@pytest.fixture
def config(
    tmp_path: Path,
    prometheus_server: PrometheusServer,
    influx_server: InfluxServer,
    influx_database: str,
) -> Path:
    def scraped() -> object:
        return prometheus_server.query("count_over_time(up[10s]) >= 3")

    wait_until(scraped, deadline_seconds=60, what="Prometheus has scraped itself")
    document: dict[str, Any] = {
        "extract": {
            "prometheus_url": prometheus_server.url,
            "settle_seconds": 0,
            "queries": [
                {"name": "raw", "select": SELECT},
                {"name": "health", "expr": "up", "step": 1},
                {"name": "nothing", "select": "no_such_metric"},
            ],
        },
        "transform": {
            "valid_metrics": ["up", "health", "scrape_s*"],
            "relabel": [
                {"source_labels": ["__name__"], "regex": "(scrape_.*)", "target_label": "kind"},
                {
                    "source_labels": ["__name__"],
                    "regex": "scrape_series_added",
                    "action": "drop",
                },
            ],
        },
        "load": {"influxdb": {"url": influx_server.url, "org": "o", "bucket": influx_database}},
    }
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def once(capsys: Capture, config: Path, *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, "once", "--config", str(config), "--json", *arguments)
    assert code == 0, out + err
    document = json.loads(out)
    assert isinstance(document, dict)
    return document


def stored(influx: InfluxServer, database: str, measurement: str) -> int:
    """Points of a measurement."""
    found = influx.query(f'SELECT count("value") FROM "{measurement}"', database=database)
    return int(found[0]["values"][0][1]) if found else 0


def test_what_would_be_written_and_what_is_dropped_by_which_rule(
    capsys: Capture, config: Path, influx_server: InfluxServer, influx_database: str
) -> None:
    document = once(capsys, config, "--query", "raw", "--from", "-10s", "--limit", "0")
    assert document["samples"] == document["points"] + sum(document["dropped"].values())
    assert document["points"] == len(document["lines"])
    assert any(line.startswith("up,") for line in document["lines"])
    assert any("kind=scrape_samples_scraped" in line for line in document["lines"])
    rules = {one["reason"]: one for one in document["dropped_series"]}
    assert rules["relabel_dropped"]["rule"] == (
        "transform.relabel[1] (drop __name__ =~ scrape_series_added)"
    )
    assert rules["relabel_dropped"]["series"] == 1
    assert '"__name__":"scrape_series_added"' in rules["relabel_dropped"]["example"]
    assert rules["not_whitelisted"]["rule"] == "transform.valid_metrics"
    assert stored(influx_server, influx_database, "up") == 0

    code, out, err = run(
        capsys, "once", "--config", str(config), "--query", "raw", "--from", "-10s", "--limit", "1"
    )
    assert code == 0
    assert "would write: " in out and "(--limit 0 shows all)" in out
    assert "dropped: relabel_dropped, by transform.relabel[1] (drop" in out
    assert "nothing was written; --write does it" in err


def test_a_range_is_written_and_writing_it_again_changes_nothing(
    capsys: Capture, config: Path, influx_server: InfluxServer, influx_database: str
) -> None:
    now = int(time_of_a_line(capsys, config))
    bounds = ("--query", "health", "--from", str(now - 5), "--to", str(now - 1))
    for _ in range(2):
        document = once(capsys, config, *bounds, "--write")
        assert document["written"] == document["points"] > 0
        assert document["refused"] == []
        assert stored(influx_server, influx_database, "health") == document["points"]


def time_of_a_line(capsys: Capture, config: Path) -> float:
    """Prometheus' time, from a line."""
    document = once(capsys, config, "--query", "health", "--from", "-5s", "--limit", "0")
    return int(document["lines"][-1].rsplit(" ", 1)[1]) / 1000


def test_a_query_that_matches_nothing(capsys: Capture, config: Path) -> None:
    document = once(capsys, config, "--query", "nothing", "--from", "-10s", "--write")
    assert (document["samples"], document["points"], document["written"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--query", "none", "--from", "-1h"), 2, "--query: no query is named 'none': there are "),
        (("--query", "raw", "--from", "-1h", "--to", "-2h"), 2, "--from: -1h is not before --to"),
        (("--query", "raw", "--from", "4000000000", "--to", "4000000060"), 2, "is yet to come: "),
        (("--query", "raw", "--from", "soon"), 2, "'soon' is not a time"),
        (("--query", "raw", "--from", "-1h", "--write", "--dry-run"), 2, "--write: cannot be"),
        (("--query", "health", "--from", "-1d"), 2, "more than 11000"),
    ],
)
def test_what_is_refused(
    capsys: Capture, config: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, err = run(capsys, "once", "--config", str(config), *arguments)
    assert (ended, out) == (code, "")
    assert said in err and len(err.splitlines()) == 1


def test_a_sink_that_is_not_there(
    capsys: Capture, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL__LOAD__INFLUXDB__URL", "http://127.0.0.1:9")
    arguments = ("--query", "raw", "--from", "-10s", "--write")
    code, out, err = run(capsys, "once", "--config", str(config), *arguments)
    assert (code, out) == (ExitCode.DEPENDENCY, "")
    assert "InfluxDB gave no response" in err and len(err.splitlines()) == 1
