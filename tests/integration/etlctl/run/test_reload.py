"""A changed configuration comes into force amid work, and nothing is lost by it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.exit_codes import ExitCode
from common.state.keys import Keys
from common.state.ledger import Audit, Ledger
from devtools.servers.waiting import wait_until
from tests.integration.etlctl.run.rig import PATIENCE_SECONDS, Run, etlctl

Configs = Callable[..., Path]
Runs = Callable[..., Run]
DROPPED = "prometheus_build_info"


def change(config: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    edit(document)
    new = config.with_name("new.yaml")
    new.write_text(yaml.safe_dump(document), encoding="utf-8")
    new.replace(config)


def audit(run: Run) -> Audit:
    with run.redis() as redis:
        return Ledger(redis, Keys("etl")).audit()


def until(condition: Callable[[], object], run: Run, what: str) -> None:
    try:
        wait_until(condition, deadline_seconds=PATIENCE_SECONDS, what=what, poll_seconds=0.5)
    except Exception as error:
        raise AssertionError(f"{error}\n{run.output}") from None


def _other_queries_and_rules(document: dict[str, Any]) -> None:
    document["extract"]["queries"].append(
        {"name": "scrapes", "expr": "scrape_duration_seconds", "step": 1}
    )
    rule = {"source_labels": ["__name__"], "regex": DROPPED, "action": "drop"}
    document["transform"] = {"relabel": [rule]}


@pytest.mark.timeout(600)
def test_queries_and_rules_change_while_it_runs(make_config: Configs, make_run: Runs) -> None:
    config = make_config()
    run = make_run(config, "--port", "0")
    run.until_said("all stages are ready")
    run.until_more_is_loaded()
    stages = {name: run.pid_of(name) for name in ("extractor", "transformer", "loader", "verifier")}
    assert "relabel_dropped" not in audit(run).total.dropped

    change(config, _other_queries_and_rules)
    reloaded = run.etlctl("reload", "--json")
    assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr + run.output
    document = json.loads(reloaded.stdout)
    assert document["reloaded"]
    assert {(one["service"], one["state"]) for one in document["workers"]} == {
        (name, "in_force") for name in ("extractor", "transformer", "loader")
    }
    run.until_said("config_changed", times=4)

    def both_are_in_force() -> bool:
        now = audit(run)
        scrapes = now.accounts.get("scrapes@hot")
        dropped = now.accounts["itself@hot"].dropped.get("relabel_dropped", 0)
        return scrapes is not None and scrapes.loaded > 0 and dropped > 0

    until(both_are_in_force, run, "a new query is loaded and a new rule drops")
    # The very same processes, which nobody had to start again.
    assert {name: run.pid_of(name) for name in stages} == stages
    assert audit(run).imbalance_samples == 0

    refused = etlctl(run.environ, "reload", "--config", str(_invalid(config)))
    assert refused.returncode == ExitCode.CONFIG
    assert "transfrom: is an unknown key" in refused.stderr

    good = config.read_text(encoding="utf-8")
    _invalid(config).replace(config)
    run.signal(signal.SIGHUP)
    run.until_said("config_refused", times=4)
    run.until_more_is_loaded()

    def status_says_so() -> bool:
        # With a file that can be read: it names the Redis, and nothing else of it is needed.
        told = etlctl(
            run.environ | {"ETL_DATA": str(run.data)}, "status", "--json", "--config", str(kept)
        )
        kinds = [one["kind"] for one in json.loads(told.stdout)["findings"]]
        return kinds.count("config_refused") == 3

    kept = config.with_name("kept.yaml")
    kept.write_text(good, encoding="utf-8")
    until(status_says_so, run, "status says who refuses the file")

    config.write_text(good, encoding="utf-8")
    again = run.etlctl("reload")
    assert again.returncode == 0, again.stderr + run.output
    assert again.stdout.endswith("is in force (extractor 1, loader 1, transformer 1).\n")
    until(lambda: audit(run).accounts["scrapes@hot"].loaded > 20, run, "more is loaded")
    proven = run.etlctl("verify", "--accept", "incomplete,explained", "--json")
    assert proven.returncode == 0, proven.stdout + proven.stderr
    now = audit(run)
    assert (now.imbalance_samples, now.lost_samples) == (0, 0)
    run.signal(signal.SIGTERM)
    assert run.ends() == ExitCode.OK, run.output


def _invalid(config: Path) -> Path:
    invalid = config.with_name("invalid.yaml")
    invalid.write_text(f"{config.read_text(encoding='utf-8')}transfrom: {{}}\n", encoding="utf-8")
    return invalid


@pytest.mark.timeout(300)
def test_where_nothing_runs_there_is_nobody_to_reload(make_config: Configs, make_run: Runs) -> None:
    config = make_config()
    run = make_run(config, "--port", "0")
    run.until_said("all stages are ready")
    run.signal(signal.SIGTERM)
    assert run.ends() == ExitCode.OK, run.output
    ended = run.etlctl("reload", "--timeout-seconds", "1", "--json")
    assert ended.returncode == ExitCode.DEPENDENCY
    assert "Redis cannot be reached" in json.loads(ended.stdout)["problems"][0]
