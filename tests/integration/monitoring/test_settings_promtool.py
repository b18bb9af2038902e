"""What we accept and refuse of Prometheus' own syntaxes, compared with Prometheus' own checker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.servers.binaries import Toolbox
from tests.support import relabel_rule_cases, selector_cases

# Sees whether promtool is of version 3, which has quoted names.
QUOTED_NAME = '{"http.requests"}'

Verdicts = Callable[[Iterable[str]], dict[str, bool]]


@pytest.fixture(scope="module")
def promtool(toolbox: Toolbox) -> Callable[..., str]:
    """Runs promtool and gives what it said, on either stream."""
    program = toolbox.program("promtool")

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [str(program.path), *arguments],
            env=program.environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        return f"exit {ran.returncode}\n{ran.stdout}{ran.stderr}"

    return run


@pytest.fixture(scope="module")
def parses(promtool: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """Whether promtool parses each of some expressions, asked in one run of it."""
    file = tmp_path_factory.mktemp("promtool") / "rules.yml"

    def verdicts(texts: Iterable[str]) -> dict[str, bool]:
        texts = list(texts)
        rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(texts)]
        file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
        said = promtool("check", "rules", "--lint=none", str(file))
        return {text: f'"r{number}"' not in said for number, text in enumerate(texts)}

    return verdicts


def test_promtool_tells_good_expressions_from_bad(parses: Verdicts) -> None:
    assert parses(["up", "up{", "sum(up)", "1 +"]) == {
        "up": True,
        "up{": False,
        "sum(up)": True,
        "1 +": False,
    }


def test_selectors_are_judged_as_promql_does(parses: Verdicts) -> None:
    accepted = [text for text, _ in selector_cases.ACCEPTED]
    if parses([QUOTED_NAME])[QUOTED_NAME]:
        accepted += [text for text, _ in selector_cases.ACCEPTED_SINCE_3]
    plain = [text for text, _ in selector_cases.NOT_PLAIN]
    refused = [text for text, _ in selector_cases.REFUSED]
    found = parses([*accepted, *plain, *refused])
    assert found == dict.fromkeys([*accepted, *plain], True) | dict.fromkeys(refused, False)


def test_relabel_rules_are_judged_as_prometheus_does(
    promtool: Callable[..., str], tmp_path: Path
) -> None:
    rules = [(rule, True) for rule in relabel_rule_cases.ACCEPTED]
    rules += [(rule, False) for rule, _, _ in relabel_rule_cases.REFUSED]
    assert {accepted for _, accepted in rules} == {True, False}
    for rule, accepted in rules:
        assert _accepts(promtool, tmp_path, rule) is accepted, rule


def _accepts(promtool: Callable[..., str], folder: Path, rule: dict[str, Any]) -> bool:
    file = folder / "prometheus.yml"
    job = {"job_name": "j", "metric_relabel_configs": [rule]}
    # JSON is YAML, and promtool takes the file as Prometheus itself would.
    file.write_text(json.dumps({"scrape_configs": [job]}))
    return promtool("check", "config", "--syntax-only", str(file)).startswith("exit 0")
