"""``etlctl run``: samples flow, what dies comes again, a stop loses nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from common.exit_codes import ExitCode
from devtools.servers.waiting import wait_until
from tests.integration.etlctl.run.rig import Run

Configs = Callable[..., Path]
Runs = Callable[..., Run]


@pytest.mark.timeout(400)
def test_a_run_brings_its_redis_survives_what_dies_and_goes_on_where_it_stopped(
    make_config: Configs, make_run: Runs
) -> None:
    config = make_config()
    run = make_run(config, "--with-metrics")
    run.until_said("all stages are ready")
    run.until_more_is_loaded()

    os.kill(run.pid_of("loader"), signal.SIGKILL)
    run.until_said("loader was ended by SIGKILL; it is started again in 1 s")
    run.until_more_is_loaded()
    os.kill(run.pid_of("redis"), signal.SIGKILL)
    run.until_said("redis was ended by SIGKILL; it is started again in 1 s")
    run.until_more_is_loaded()

    address = run.output.split("etl-metrics answers on ")[1].split()[0]

    def balances() -> bool:
        page = requests.get(f"http://{address}/metrics", timeout=10).text
        return "etl_ledger_imbalance_samples 0.0" in page

    # Where it met the Redis that was killed, it looks again at its own interval.
    wait_until(balances, deadline_seconds=60, what="etl-metrics says that the ledger balances")

    run.signal(signal.SIGINT)
    assert run.ends() == ExitCode.OK, run.output
    assert run.output.endswith("stopped")
    assert (run.data / "redis_password").stat().st_mode & 0o777 == 0o600
    password = (run.data / "redis_password").read_text().strip()
    assert password not in run.output

    again = make_run(config)
    again.until_said("all stages are ready")
    again.until_more_is_loaded()
    proven = again.etlctl("verify", "--accept", "incomplete,explained", "--json")
    assert proven.returncode == 0, proven.stdout + proven.stderr
    for query in json.loads(proven.stdout)["queries"]:
        assert query["equal"] > 0
        # A grid begins before the moment that the pipeline was first started in.
        assert query["missing"] == query["explained"]["missing"].get("before_origin", 0)
    assert again.etlctl("status", "--json").returncode in (0, 1)
    again.signal(signal.SIGTERM)
    assert again.ends() == ExitCode.OK, again.output


@pytest.mark.timeout(400)
def test_a_second_ctrl_c_ends_everything_at_once(make_config: Configs, make_run: Runs) -> None:
    run = make_run(make_config(), "--json")
    run.until_said("all stages are ready")
    stages = [run.pid_of(name) for name in ("extractor", "transformer", "loader", "verifier")]
    os.kill(stages[2], signal.SIGSTOP)  # a stage that would not end in time
    run.signal(signal.SIGINT)
    run.until_said("stopping (SIGINT)")
    run.signal(signal.SIGINT)
    assert run.ends() == ExitCode.FORCED, run.output
    assert not any(Path(f"/proc/{pid}").exists() for pid in stages)
    events = [json.loads(line) for line in run.output.splitlines()]
    assert {"run", "extractor", "loader"} <= {event["service"] for event in events}
