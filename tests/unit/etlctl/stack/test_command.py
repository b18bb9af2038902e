"""``etlctl stack``: down, destroy, ps, logs, build, scale, restart-etl, status, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from devtools import PROJECT_ROOT
from tests.doubles.docker import INFO, VERSION, container
from tests.unit.etlctl.stack.world import SERVICES, Stack


def test_down_keeps_data(stack: Stack) -> None:
    assert stack.run("down") == 0
    assert stack.docker.called("compose", "--profile", "*", "down") == [["--remove-orphans"]]


def test_destroy_takes_data_too(stack: Stack) -> None:
    assert stack.run("destroy", "--yes") == 0
    assert stack.docker.called("down") == [["--volumes", "--remove-orphans"]]


def test_destroy_needs_the_name_as_confirmation(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etlctl.stack.command.has_terminal", lambda: True)
    for answer, code in (("", 1), ("yes", 1), ("etl", 0)):
        monkeypatch.setattr("typer.prompt", lambda text, answer=answer, **_: answer)
        assert stack.run("destroy") == code
    assert stack.docker.called("down") == [["--volumes", "--remove-orphans"]]


def test_destroy_needs_somebody_to_ask(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlctl.stack.command.has_terminal", lambda: False)
    assert stack.run("destroy") == 2
    assert "there is no terminal to ask on: give --yes" in stack.err
    assert stack.docker.called("down") == []


def test_what_docker_says_is_shown_and_one_sentence_more(stack: Stack) -> None:
    stack.docker.respond("compose", "down", err="network is in use\n", code=17)
    assert stack.run("down") == 1
    assert stack.err == "network is in use\netlctl: docker compose down failed (exit code 17)\n"


def test_what_is_only_passed_on(stack: Stack) -> None:
    stack.docker.respond("compose", "logs", out="loader-1 | hello\n")
    assert stack.run("logs", "--follow", "--tail", "5", "loader", "redis") == 0
    assert stack.out == "loader-1 | hello\n"
    assert stack.run("logs") == 0
    assert stack.docker.called("logs") == [["--follow", "--tail", "5", "loader", "redis"], []]
    assert stack.run("build", "loader") == 0
    assert stack.docker.called("build") == [["loader"]]
    assert stack.run("ps") == 0
    assert stack.docker.called("ps") == [["--all"]]


def test_scaling_one_names_the_others_too(stack: Stack) -> None:
    stack.docker.respond(
        "compose",
        "ps",
        out=[
            "\n".join(json.dumps(container(*one)) for one in before)
            for before in (
                [("extractor", 1), ("transformer", 1), ("transformer", 2), ("redis", 1)],
                [("extractor", 1), *(("transformer", number) for number in range(4))],
            )
        ],
    )
    assert stack.run("scale", "transformer=4") == 0
    assert stack.docker.called("compose", "up") == [
        [
            *("--detach", "--no-recreate", "--no-deps"),
            *("--scale", "extractor=1", "--scale", "transformer=4", "--scale", "loader=0"),
            *("extractor", "transformer", "loader"),
        ]
    ]
    assert stack.out == "extractor 1, transformer 4, loader 0\n"


def test_a_replica_that_crashed_is_one_still(stack: Stack) -> None:
    stack.docker.containers(
        container("loader", 1), container("loader", 2, state="exited", exit_code=137)
    )
    assert stack.run("scale", "extractor=0") == 0
    assert "loader=2" in stack.docker.called("compose", "up")[0]


def test_every_mistake_of_a_scale_has_its_line(stack: Stack) -> None:
    arguments = ["redis=2", "loader", "loader=-1", "loader=x", "loader=101", "loader=1", "loader=2"]
    assert stack.run("scale", "--", *arguments) == 2
    assert stack.problems == [
        "'redis=2': only extractor, transformer, loader can be scaled",
        "'loader': is not SERVICE=NUMBER, e.g. transformer=4",
        "'loader=-1': is not SERVICE=NUMBER, e.g. transformer=4",
        "'loader=x': is not SERVICE=NUMBER, e.g. transformer=4",
        "'loader=101': more than 100 replicas",
        "'loader=2': loader is given twice",
    ]
    assert stack.docker.calls == []


def test_nothing_is_scaled_where_nothing_runs(stack: Stack) -> None:
    stack.docker.containers(container("prometheus"))
    assert stack.run("scale", "loader=2") == 2
    assert stack.problems == ["nothing of the pipeline runs: start it with `etlctl stack up`"]


def test_containers_are_restarted_in_turn_each_when_the_one_before_is_back(stack: Stack) -> None:
    stack.docker.containers(
        container("etl-metrics"),
        container("loader"),
        container("redis"),
        container("transformer", 2),
        container("transformer", 1),
        container("extractor", state="exited"),
    )
    stack.docker.respond("restart")
    stack.docker.respond("inspect", out=["running starting\n", "running healthy\n", "running\n"])
    assert stack.run("restart-etl") == 0
    steps = [
        [call[0], call[-1]] for call in stack.docker.calls if call[0] in ("restart", "inspect")
    ]
    assert steps == [
        ["restart", "transformer1"],
        ["inspect", "transformer1"],
        ["inspect", "transformer1"],
        ["restart", "transformer2"],
        ["inspect", "transformer2"],
        ["restart", "loader1"],
        ["inspect", "loader1"],
        ["restart", "etl-metrics1"],
        ["inspect", "etl-metrics1"],
    ]
    assert stack.out.splitlines()[:2] == [
        "etl-transformer-1: restarting",
        "etl-transformer-1: is back",
    ]


@pytest.mark.parametrize("state", ["exited", "running unhealthy", "running starting"])
def test_one_that_does_not_come_back_ends_it(stack: Stack, state: str) -> None:
    stack.docker.containers(container("loader", 1), container("loader", 2))
    stack.docker.respond("restart")
    stack.docker.respond("inspect", out=f"{state}\n")
    assert stack.run("restart-etl", "--wait-seconds", "1") == 1
    assert stack.problems == [
        f"etl-loader-1: is {state} and not healthy after 1 s; the containers after it were not "
        "touched (etlctl stack logs loader)"
    ]
    assert stack.docker.called("restart") == [["loader1"]]


def test_there_is_nothing_to_restart(stack: Stack) -> None:
    stack.docker.containers(container("redis"), container("loader", state="exited"))
    assert stack.run("restart-etl") == 2
    assert stack.problems == ["nothing to restart runs: start it with `etlctl stack up`"]


def test_a_reload_asks_who_reads_the_configuration_and_waits_within_the_stack(
    stack: Stack,
) -> None:
    stack.docker.containers(
        container("etl-metrics"),
        container("loader", 1),
        container("loader", 2),
        container("verifier"),
        container("extractor", state="exited"),
    )
    stack.docker.respond("kill")
    stack.docker.respond("compose", "run", out="/etc/etl/etl.yaml is in force (loader 2).\n")
    assert stack.run("reload", "--timeout-seconds", "7") == 0
    assert stack.docker.called("kill") == [
        ["--signal", "SIGHUP", "loader1", "loader2", "verifier1"]
    ]
    assert stack.docker.called("compose", "run") == [
        ["--rm", "--no-deps", "--no-TTY", "etlctl", "reload", "--timeout-seconds", "7"]
    ]
    assert "is in force (loader 2)." in stack.out


def test_a_reload_that_the_stack_refuses_ends_as_it_does(stack: Stack) -> None:
    stack.docker.containers(container("loader"))
    stack.docker.respond("kill")
    stack.docker.respond("compose", "run", code=2)
    assert stack.run("reload") == 2


def test_a_signal_that_cannot_be_sent_ends_the_reload(stack: Stack) -> None:
    stack.docker.containers(container("loader"))
    stack.docker.respond("kill", code=1, err="no such container\n")
    assert stack.run("reload") == 1
    assert stack.problems == ["SIGHUP cannot be sent: no such container"]


def test_there_is_nothing_to_reload(stack: Stack) -> None:
    stack.docker.containers(container("redis"), container("loader", state="exited"))
    assert stack.run("reload") == 2
    assert stack.problems == ["nothing to reload runs: start it with `etlctl stack up`"]


def everything() -> list[dict[str, Any]]:
    return [
        container(
            name,
            state="exited" if name == "secrets" else "running",
            health="" if name == "secrets" else "healthy",
        )
        for name in SERVICES
    ]


def test_status_shows_the_containers_and_the_ledger(stack: Stack) -> None:
    stack.docker.containers(*everything())
    stack.docker.respond("compose", "run", out="Every extracted sample is accounted for.\n")
    assert stack.run("status") == 0
    assert stack.docker.called("compose", "run") == [
        ["--rm", "--no-deps", "--no-TTY", "etlctl", "status"]
    ]
    rows = {line.split()[0]: line.split()[1:] for line in stack.out.splitlines() if line.strip()}
    assert rows["loader"] == ["1", "1"]
    assert rows["secrets"] == ["done", "–"]
    assert "Every extracted sample is accounted for." in stack.out


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"loader": {"state": "exited", "exit_code": 137}}, "etl-loader-1: exited with 137"),
        # A service that somebody stopped ends with 0 too, and is missing all the same.
        ({"loader": {"state": "exited", "exit_code": 0}}, "etl-loader-1: exited with 0"),
        ({"loader": {"health": "unhealthy"}}, "etl-loader-1: running, unhealthy"),
        ({"loader": {"state": "paused"}}, "etl-loader-1: paused"),
        ({"secrets": {"state": "exited", "exit_code": 2}}, "etl-secrets-1: exited with 2"),
        ({"loader": None}, "no container"),
    ],
)
def test_status_ends_with_1_when_something_is_not_well(
    stack: Stack, change: dict[str, dict[str, Any] | None], shown: str
) -> None:
    (name, how), *_ = change.items()
    others = [one for one in everything() if one["Service"] != name]
    stack.docker.containers(*others, *([container(name, **how)] if how else []))
    assert stack.run("status") == 1
    assert shown in stack.out


def test_status_of_the_pipeline_decides_too(stack: Stack) -> None:
    stack.docker.containers(*everything())
    stack.docker.respond("compose", "run", code=3)
    assert stack.run("status") == 3


def test_status_of_a_pipeline_whose_redis_is_elsewhere(stack: Stack) -> None:
    del stack.services["redis"]
    stack.docker.containers(*(one for one in everything() if one["Service"] != "redis"))
    stack.docker.respond("compose", "run", code=1)
    assert stack.run("status") == 1
    assert stack.docker.called("compose", "run") != []


def test_status_of_the_monitoring_alone_reads_no_redis(stack: Stack) -> None:
    stack.docker.containers(*everything())
    assert stack.run("status", "--monitoring-only") == 0
    assert stack.docker.called("compose", "run") == []


def test_status_where_nothing_runs(stack: Stack) -> None:
    assert stack.run("status") == 1
    assert stack.out == "Nothing runs: start it with `etlctl stack up`.\n"


def test_ctrl_c_waits_for_docker_and_says_so(stack: Stack) -> None:
    """The terminal sends the signal to docker too; it has the time that it needs."""
    program = stack.docker.bin / "docker"
    program.write_text(
        f"#!{sys.executable} -IS\n"
        "import os, signal, sys\n"
        "if 'logs' not in sys.argv:\n"
        f"    print({json.dumps(VERSION)!r} if 'version' in sys.argv[1:2] else "
        f"{json.dumps(INFO)!r} if 'info' in sys.argv else '2.30.0')\n"
        "    sys.exit(0)\n"
        "def stop(*_):\n"
        "    os.write(1, b'docker is done\\n')\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "os.write(1, b'ready\\n')\n"
        "while True:\n"
        "    signal.pause()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "etlctl", "stack", "logs", "--follow"]
    with subprocess.Popen(
        [*command, "--project-dir", str(stack.folder)],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err.splitlines()[0]) == (
        "docker is done\n",
        "Interrupted: what was started goes on running (etlctl stack ps).",
    )
    assert "Traceback" not in err
    assert process.returncode == 130
