"""What is committed is as the definitions render it, and a quicker rendering is the same rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from monitoring import DEPLOY_FOLDER
from monitoring.catalogue import all_alerts, all_recordings, groups
from monitoring.render.files import RENDERED, differences, render, write
from monitoring.render.prometheus_rules import rule_file
from monitoring.render.yaml_text import dump
from monitoring.thresholds import Thresholds

FILES = render()
QUICK = Thresholds().quicker(60, scrape_interval_seconds=0.5)


def test_committed_files_are_what_is_rendered() -> None:
    """Render again with `python -m monitoring render`."""
    assert differences() == []


def test_rendering_twice_gives_the_same() -> None:
    assert render() == FILES


def test_write_repairs_what_differs_and_removes_what_is_left_over(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == len(FILES)
    assert write(tmp_path) == []
    changed, missing = sorted(FILES)[:2]
    (tmp_path / changed).write_text("by hand")
    (tmp_path / missing).unlink()
    stray = tmp_path / RENDERED[0] / "rules" / "old.yml"
    stray.write_text("groups: []")
    assert differences(tmp_path) == [
        f"deploy/{changed} is not as the definitions render it",
        f"deploy/{missing} is missing",
        "deploy/prometheus/rules/old.yml is no longer rendered",
    ]
    write(tmp_path)
    assert differences(tmp_path) == []
    assert not stray.exists()


@pytest.mark.parametrize("name", FILES)
def test_every_file_can_be_read_back(name: str) -> None:
    text = FILES[name]
    document = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    assert isinstance(document, dict)
    assert text.endswith("\n")


def test_no_file_holds_a_secret_or_a_path_of_this_machine() -> None:
    for name, text in FILES.items():
        assert str(DEPLOY_FOLDER.parent) not in text, name
        if name.endswith(".json"):
            continue
        for value in re.findall(r"password[\w]*: (.+)", text, re.IGNORECASE):
            assert value.startswith(("/run/secrets/", "$__file{/run/secrets/")), (name, value)


def test_yaml_keeps_clock_times_and_operators_as_text() -> None:
    document = {"times": ["00:00", "24:00"], "operators": ["=", "=~", ".+"], "no": "off"}
    text = dump(document, "x")
    assert yaml.safe_load(text) == document
    # Readers of YAML 1.1 take 12:30 for a number, unless it is quoted.
    assert "'00:00'" in text


def test_quicker_rules_are_the_same_rules() -> None:
    usual, quick = all_alerts(Thresholds()), all_alerts(QUICK)
    assert [alert.name for alert in quick] == [alert.name for alert in usual]
    numbers = re.compile(r"[0-9]+(\.[0-9]+)?(ms|[smhd])?([0-9]+(ms|[smhd]))*")
    for before, after in zip(usual, quick, strict=True):
        assert numbers.sub("N", after.query) == numbers.sub("N", before.query)
        assert after.limit.operator == before.limit.operator
        assert after.for_seconds <= max(before.for_seconds, 2)


def test_quicker_times_are_shorter_and_long_enough_for_a_rate() -> None:
    assert QUICK.no_success_seconds == 10
    assert QUICK.bridge_seconds == 2  # 1 s would be less than four scrapes
    assert QUICK.scrape_interval_seconds == QUICK.evaluation_seconds == 0.5
    assert QUICK.failures == Thresholds().failures
    assert QUICK.grafana_evaluation_seconds == Thresholds().grafana_evaluation_seconds


def test_quicker_recordings_have_no_duplicates() -> None:
    names = [recording.record for recording in all_recordings(QUICK)]
    assert len(names) == len(set(names))


def test_rules_can_be_rendered_with_any_thresholds() -> None:
    for its_groups in groups(QUICK).values():
        for group in rule_file(its_groups)["groups"]:
            assert group["interval"] == "500ms"
