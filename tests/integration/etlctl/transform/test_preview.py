"""``etlctl transform preview`` shows series of a real Prometheus before and after the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run


@pytest.fixture
def config(tmp_path: Path, prometheus_server: PrometheusServer) -> Path:
    def scraped() -> object:
        # An expression is shown at whole steps, of which one must lie behind the first sample.
        return prometheus_server.query("up offset 3s")

    wait_until(scraped, deadline_seconds=60, what="Prometheus has scraped itself")
    document = {
        "extract": {
            "prometheus_url": prometheus_server.url,
            "queries": [
                {"name": "raw", "select": '{job="prometheus",__name__=~"up|scrape_.*"}'},
                {"name": "undefined", "expr": "0 * up / 0", "step": 1},
                {"name": "nothing", "select": "no_such_metric"},
            ],
        },
        "transform": {
            "relabel": [
                {"source_labels": ["__name__"], "regex": "scrape_s.*", "action": "drop"},
                {"target_label": "site", "replacement": "eu"},
            ]
        },
        "load": {"influxdb": {"url": "http://nowhere:1", "org": "o", "bucket": "b"}},
    }
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_series_are_shown_before_and_after(config: Path, capsys: Capture) -> None:
    arguments = ["transform", "preview", "--query", "raw", "--config", str(config)]
    code, out, _ = run(capsys, *arguments, "--limit", "2", "--json")
    said = json.loads(out)
    assert code == 0
    # Two fates, and one example of each.
    kept, dropped = sorted(said["examples"], key=lambda one: one["reason"])
    assert '"job":"prometheus"' in kept["series"].replace(" ", "")
    assert ",site=eu value=" in kept["line"]
    assert '"__name__":"scrape_s' in dropped["series"].replace(" ", "")
    assert (dropped["line"], dropped["reason"]) == ("", "relabel_dropped")
    assert dropped["rule"] == "transform.relabel[0] (drop __name__ =~ scrape_s.*)"
    assert said["series"] > said["dropped"]["relabel_dropped"] > 0
    _, out, _ = run(capsys, *arguments)
    assert f"raw: {said['series']} series," in out
    assert "→ dropped: relabel_dropped, by transform.relabel[0]" in out


def test_samples_without_a_value_are_shown_as_dropped(config: Path, capsys: Capture) -> None:
    arguments = ["transform", "preview", "--config", str(config), "--json", "--query"]
    said = json.loads(run(capsys, *arguments, "undefined")[1])
    assert said["dropped"] == {"nan": said["series"]}
    assert {one["reason"] for one in said["examples"]} == {"nan"}
    assert json.loads(run(capsys, *arguments, "nothing")[1])["series"] == 0


def test_a_query_that_is_not_there_gets_one_sentence(config: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, "transform", "preview", "--query", "other", "--config", str(config))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--query: no query is named 'other': there are raw, undefined, nothing" in err
