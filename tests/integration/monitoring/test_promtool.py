"""promtool judges what is committed, as `make monitoring-check` has it do.

That the alerts do what their cases say takes minutes, and is left to `make check`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devtools.servers.binaries import Toolbox
from monitoring import DEPLOY_FOLDER
from monitoring.render.checks import Promtool, check_expressions, check_files, run_tests
from monitoring.render.files import write
from tests.unit.monitoring.test_metrics import EXPRESSIONS


@pytest.fixture(scope="module")
def promtool(toolbox: Toolbox) -> Promtool:
    return Promtool(toolbox)


def test_committed_files_pass_every_check(promtool: Promtool) -> None:
    outcomes = check_files(promtool)
    assert [outcome.name for outcome in outcomes] == [
        "rendered files are as the definitions render them",
        "promtool check rules",
        "promtool check config prometheus-tls.yml",
        "promtool check config prometheus.yml",
        "promtool check web-config prometheus_web.yml",
        "promtool check web-config prometheus_web_tls.yml",
        *(
            f"promtool check metrics of {service}"
            for service in (
                "etl-metrics",
                "extractor",
                "loader",
                "test-app",
                "transformer",
                "verifier",
            )
        ),
    ]
    assert [outcome for outcome in outcomes if outcome.problem] == []


def test_every_expression_of_rules_and_dashboards_parses(promtool: Promtool) -> None:
    assert check_expressions(promtool, list(EXPRESSIONS.values())) == ""


def test_expression_that_does_not_parse_is_told(promtool: Promtool) -> None:
    assert "expression:1" in check_expressions(promtool, ["up", "sum(up"])


def test_checks_find_what_is_wrong(promtool: Promtool, tmp_path: Path) -> None:
    write(tmp_path)
    rules = tmp_path / "prometheus" / "rules" / "etl-process.yml"
    text = rules.read_text()
    rules.write_text(text.replace(" < 1", " <", 1))
    (tmp_path / "prometheus" / "prometheus.yml").write_text("scrape_configs: {}\n")
    failed = {outcome.name for outcome in check_files(promtool, tmp_path) if outcome.problem}
    assert failed == {
        "rendered files are as the definitions render them",
        "promtool check rules",
        "promtool check config prometheus.yml",
        "promtool check config prometheus-tls.yml",
    }


def test_a_case_that_is_wrong_fails(promtool: Promtool, tmp_path: Path) -> None:
    for part in ("rules", "tests"):
        shutil.copytree(DEPLOY_FOLDER / "prometheus" / part, tmp_path / part)
    test = tmp_path / "tests" / "watchdog.yml"
    assert run_tests(promtool, test) == ""
    test.write_text(test.read_text().replace("severity: none", "severity: critical"))
    assert "EtlWatchdog fires from the first evaluation on" in run_tests(promtool, test)
