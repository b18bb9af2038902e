"""``etlctl stack``: what docker is asked, what is refused before it is, what is said afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devtools import PROJECT_ROOT
from etlctl.stack import preflight
from etlctl.stack.compose import compose_files
from tests.doubles.docker import INFO, VERSION, FakeDocker, container
from tests.support.secret_folders import run as run_command

SERVICES: dict[str, dict[str, Any]] = {
    "secrets": {},
    "redis": {"restart": "unless-stopped"},
    "extractor": {"restart": "unless-stopped", "deploy": {"replicas": 1}},
    "transformer": {"restart": "unless-stopped", "deploy": {"replicas": 2}},
    "loader": {"restart": "unless-stopped"},
    "prometheus": {
        "restart": "unless-stopped",
        "ports": [{"host_ip": "127.0.0.1", "published": "9090", "target": 9090}],
    },
    "grafana": {
        "restart": "unless-stopped",
        "ports": [{"host_ip": "127.0.0.1", "published": "3000", "target": 3000}],
        "labels": {"etl.scheme": "https"},
    },
    "etl-simulator": {
        "restart": "unless-stopped",
        "ports": [{"published": "8000", "target": 8000}],
    },
    "etl-metrics": {"restart": "unless-stopped"},
}


class Stack:
    """A checkout with compose files, and a docker that is told what to answer."""

    def __init__(self, folder: Path, docker: FakeDocker, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.docker = docker
        self.services = json.loads(json.dumps(SERVICES))
        self.secrets = ["redis_password", "prometheus_web.yml"]
        self.out = self.err = ""
        self._capfd = capfd

    def run(self, *arguments: str) -> int:
        document = {
            "name": "etl",
            "services": self.services,
            "secrets": {
                name: {"file": str(self.folder / "secrets" / name)} for name in self.secrets
            },
        }
        self.docker.answer("compose", "config", out=json.dumps(document))
        code, self.out, self.err = run_command(self._capfd, "stack", *arguments)
        return code

    @property
    def problems(self) -> list[str]:
        return [line.removeprefix("etlctl: ") for line in self.err.splitlines()]


@pytest.fixture
def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Stack:
    docker = FakeDocker(tmp_path / "docker")
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("docker-compose.yml", "docker-compose.monitoring.yml"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", f"{docker.bin}:{os.environ['PATH']}")
    for name in ("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "DOCKER_HOST", "SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("etlctl.stack.command.CHECKOUT", folder)
    monkeypatch.setattr("etlctl.secrets.derived.BCRYPT_COST", 4)
    # Whatever else runs on this machine, and however full it is.
    look = partial(preflight.look, is_free=lambda port: True, free_bytes=lambda folder: None)
    monkeypatch.setattr("etlctl.stack.up.look", look)
    return Stack(folder, docker, capfd)


# -- the engine ----------------------------------------------------------------------------------


def test_without_docker(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    for command in (["up"], ["down"], ["ps"], ["status"], ["scale", "loader=1"], ["restart-etl"]):
        assert stack.run(*command) == 3
        assert stack.problems == [
            "docker is not installed (there is no `docker` in PATH): install Docker Engine"
        ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///x",
            "you may not talk to the Docker engine (permission denied): join the group docker",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "no Docker engine answers: start it (sudo systemctl start docker)",
        ),
        ("error during connect: tls: bad certificate", "no Docker engine answers: error during"),
    ],
)
def test_an_engine_that_does_not_answer(stack: Stack, words: str, why: str) -> None:
    stack.docker.answer("version", out=json.dumps({"Server": None}), err=f"{words}\n", code=1)
    assert stack.run("up") == 3
    assert len(stack.problems) == 1
    assert stack.problems[0].startswith(why)
    assert stack.docker.called("up") == []


def test_an_engine_elsewhere_is_named(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2375")
    stack.docker.answer("version", err="Cannot connect to the Docker daemon at tcp://…\n", code=1)
    assert stack.run("ps") == 3
    assert stack.problems == [
        "no Docker engine answers at tcp://10.0.0.9:2375: start it (sudo systemctl start docker)"
    ]


def test_an_old_client_tells_it_in_its_document(stack: Stack) -> None:
    info = {"ServerErrors": ["Cannot connect to the Docker daemon at unix:///x."]}
    stack.docker.answer("info", out=json.dumps(info))
    assert stack.run("ps") == 3
    assert stack.problems[0].startswith("no Docker engine answers")


def test_without_compose(stack: Stack) -> None:
    stack.docker.answer(
        "compose", "version", err="docker: 'compose' is not a docker command.\n", code=1
    )
    assert stack.run("up") == 3
    assert stack.problems == [
        "docker has no compose: install the compose plugin, version 2.24 or later "
        "(package docker-compose-plugin, or docker-compose-v2)"
    ]


@pytest.mark.parametrize(
    ("version", "code"),
    [("2.23.3", 3), ("1.29.2", 3), ("v2.24.0", 0), ("2.26.1-4", 0), ("5.1.0", 0), ("dev", 0)],
)
def test_compose_has_to_be_new_enough(stack: Stack, version: str, code: int) -> None:
    stack.docker.answer("compose", "version", out=f"{version}\n")
    assert stack.run("ps") == code
    if code:
        assert stack.problems == [
            f"docker compose is {version}, and the compose files need 2.24 or later: "
            "update the compose plugin"
        ]


def test_an_engine_that_says_something_else(stack: Stack) -> None:
    stack.docker.answer("version", out="<html>")
    assert stack.run("ps") == 3
    assert "docker version says something else than expected" in stack.err
    stack.docker.answer("version", out=json.dumps({"Server": {"Version": "1"}}))
    assert stack.run("ps") == 3
    assert "KeyError" in stack.err


# -- up ------------------------------------------------------------------------------------------


def test_up_makes_secrets_starts_and_says_where_to_look(stack: Stack) -> None:
    assert stack.run("up") == 0
    assert stack.docker.called("compose", "up") == [
        ["--detach", "--wait", "--wait-timeout", "600", "--build"]
    ]
    secrets = stack.folder / "secrets"
    assert "secrets/redis_password: made\n" in stack.out
    assert not (secrets / "tls_ca.key").exists()
    lines = [line.split() for line in stack.out.splitlines() if "://" in line]
    assert [line[:2] for line in lines] == [
        ["grafana", "https://127.0.0.1:3000/d/etl-monitoring"],
        ["prometheus", "http://127.0.0.1:9090/targets"],
        ["etl-simulator", "http://127.0.0.1:8000/metrics"],
    ]
    assert stack.out.count("user admin, password: etlctl secrets show grafana_admin_password") == 1
    for file in secrets.iterdir():
        assert file.read_text(encoding="utf-8") not in stack.out + stack.err


def test_up_without_building_and_with_a_time(stack: Stack) -> None:
    assert stack.run("up", "--no-build", "--wait-seconds", "30") == 0
    assert stack.docker.called("compose", "up") == [
        ["--detach", "--wait", "--wait-timeout", "30", "--no-build"]
    ]


def test_compose_is_run_in_the_folder_of_its_files(stack: Stack, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    assert stack.run("up", "--project-dir", "checkout") == 0
    leading = ["compose", "--project-directory", str(stack.folder), "up"]
    assert [call[:4] for call in stack.docker.calls if "up" in call] == [leading]
    assert "checkout/secrets/redis_password: made" in stack.out
    assert "etlctl secrets show --dir checkout/secrets grafana_admin_password" in stack.out


def test_replicas_that_were_added_stay(stack: Stack) -> None:
    stack.docker.containers(
        *(container("transformer", number) for number in (1, 2, 3)),
        container("loader", state="exited", exit_code=137),
        container("extractor", labels="com.docker.compose.oneoff=True"),
    )
    assert stack.run("up") == 0
    (options,) = stack.docker.called("compose", "up")
    assert options[5:] == ["--scale", "transformer=3"]


def test_certificates_are_made_when_the_files_want_them(stack: Stack) -> None:
    stack.secrets.append("tls_redis.key")
    assert stack.run("up") == 0
    assert (stack.folder / "secrets" / "tls_redis.key").exists()


def test_a_secret_that_is_open_stops_it(stack: Stack) -> None:
    assert stack.run("up") == 0
    (stack.folder / "secrets" / "redis_password").chmod(0o644)
    assert stack.run("up") == 2
    assert "secrets/redis_password: is open to others" in stack.err
    assert len(stack.docker.called("compose", "up")) == 1


def test_what_compose_says_against_its_files_is_told(stack: Stack) -> None:
    stack.docker.answer(
        "compose", "ps", err='time="…" level=warning msg="x"\nno such file: y.yml\n', code=14
    )
    assert stack.run("up") == 2
    assert stack.problems == ["docker compose ps: no such file: y.yml"]


def test_when_it_does_not_become_healthy_it_says_what_to_look_at(stack: Stack) -> None:
    stack.docker.containers(
        container("prometheus", health="unhealthy"),
        container("secrets", state="exited"),
        container("redis", health="healthy"),
        container("loader", state="exited", exit_code=2),
        container("grafana", state="created"),
    )
    stack.docker.answer("compose", "up", err="container etl-prometheus-1 is unhealthy\n", code=1)
    assert stack.run("up") == 1
    assert stack.problems == [
        "container etl-prometheus-1 is unhealthy",
        "the stack is not up (exit code 1)",
        "etl-prometheus-1: running, unhealthy: etlctl stack logs prometheus",
        "etl-loader-1: exited with 2: etlctl stack logs loader",
        "etl-grafana-1: created: etlctl stack logs grafana",
    ]


def test_what_is_in_the_way_is_said_before_anything_is_started(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = partial(
        preflight.look, is_free=lambda port: port.number != 9090, free_bytes=lambda folder: 5 << 30
    )
    monkeypatch.setattr("etlctl.stack.up.look", look)
    assert stack.run("up") == 2
    remark, problem = stack.err.splitlines()
    assert remark.startswith("note: 5,120 MiB are free")
    assert problem.startswith("etlctl: port 127.0.0.1:9090 of prometheus is taken")
    assert stack.docker.called("compose", "up") == []
    assert not (stack.folder / "secrets").exists()


def old_engine(stack: Stack) -> None:
    server = {"Version": "20.10.24", "ApiVersion": "1.41"}
    stack.docker.answer("version", out=json.dumps({"Server": server}))
    for name in ("redis", "loader"):
        stack.services[name]["healthcheck"] = {"test": ["CMD", "x"], "start_interval": "1s"}


def test_an_engine_that_does_not_know_start_interval_is_not_told_of_it(stack: Stack) -> None:
    old_engine(stack)
    assert stack.run("up") == 0
    assert stack.err == (
        "note: Docker 20.10.24 does not know start_interval (25 does): health is asked at short "
        "intervals instead\n"
    )
    (call,) = [call for call in stack.docker.calls if "up" in call]
    assert call[3:5] == ["--file", "docker-compose.yml"]
    assert call[5] == "--file"
    assert call[6].endswith("/old-engine.yml")
    assert not Path(call[6]).exists()
    stack.docker.containers(container("loader"))
    assert stack.run("scale", "loader=2") == 0
    assert [call[6].endswith("/old-engine.yml") for call in stack.docker.calls if "up" in call] == [
        True,
        True,
    ]


def test_an_engine_that_knows_it_gets_the_files_as_they_are(stack: Stack) -> None:
    for service in stack.services.values():
        service["healthcheck"] = {"test": ["CMD", "x"], "start_interval": "1s"}
    assert stack.run("up") == 0
    assert stack.err == ""
    assert not any("--file" in call for call in stack.docker.calls)


# -- which files ---------------------------------------------------------------------------------


def test_monitoring_only_is_its_file_alone(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "docker-compose.yml")
    assert stack.run("up", "--monitoring-only", "-f", "more.yml") == 0
    leading = ["--file", "docker-compose.monitoring.yml", "--file", str(stack.folder / "more.yml")]
    assert all(call[3:7] == leading for call in stack.docker.calls if "--project-dir" in call)
    assert stack.docker.called("up")
    assert stack.run("down", "--monitoring-only") == 0
    assert stack.docker.called("--file", "docker-compose.monitoring.yml", "down") == [[]]


@pytest.mark.parametrize(
    ("environ", "dotenv", "override", "found"),
    [
        ({}, "", False, ["docker-compose.yml"]),
        ({}, "", True, ["docker-compose.yml", "docker-compose.override.yml"]),
        ({"COMPOSE_FILE": "a.yml:b.yml"}, "COMPOSE_FILE=c.yml", True, ["a.yml", "b.yml"]),
        ({}, "# mine\nexport COMPOSE_FILE='c.yml:d.yml'\n", True, ["c.yml", "d.yml"]),
        ({"COMPOSE_FILE": "a.yml,b.yml", "COMPOSE_PATH_SEPARATOR": ","}, "", 0, ["a.yml", "b.yml"]),
    ],
)
def test_one_more_file_goes_over_those_that_compose_would_find(
    tmp_path: Path, environ: dict[str, str], dotenv: str, override: bool, found: list[str]
) -> None:
    (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
    if override:
        (tmp_path / "docker-compose.override.yml").touch()
    here = Path("/elsewhere")
    files = compose_files(tmp_path, here, [Path("x.yml")], environ, monitoring_only=False)
    assert files == [*found, "/elsewhere/x.yml"]
    # One that is named again is named once.
    again = [tmp_path / found[0], Path("x.yml")]
    assert compose_files(tmp_path, here, again, environ, monitoring_only=False) == files
    # With none of ours compose decides by itself.
    assert compose_files(tmp_path, here, [], environ, monitoring_only=False) == []


def test_a_folder_without_files(stack: Stack, tmp_path: Path) -> None:
    assert stack.run("up", "--project-dir", str(tmp_path)) == 2
    assert stack.problems == [
        f"{tmp_path}: holds no docker-compose.yml: name the checkout with --project-dir"
    ]


def test_secrets_have_one_directory(stack: Stack) -> None:
    document = {
        "name": "etl",
        "services": {},
        "secrets": {
            "redis_password": {"file": "/a/redis_password"},
            "metrics_password": {"file": "/b/metrics_password"},
            "pip_conf": {"file": "/c/empty"},
        },
    }
    assert stack.run("ps") == 0
    stack.docker.answer("compose", "config", "--format", "json", out=json.dumps(document))
    code, _, err = run_command(stack._capfd, "stack", "up")
    assert code == 2
    assert err == (
        "etlctl: the compose files look for secrets in /a, /b: it must be one directory\n"
    )


# -- down, destroy -------------------------------------------------------------------------------


def test_down_keeps_data(stack: Stack) -> None:
    assert stack.run("down") == 0
    assert stack.docker.called("compose", "--profile", "*", "down") == [["--remove-orphans"]]


def test_destroy_takes_data_too(stack: Stack) -> None:
    assert stack.run("destroy", "--yes") == 0
    assert stack.docker.called("down") == [["--volumes", "--remove-orphans"]]


def test_destroy_asks_and_only_the_name_is_a_yes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etlctl.stack.command._has_terminal", lambda: True)
    for answer, code in (("", 1), ("yes", 1), ("etl", 0)):
        monkeypatch.setattr("typer.prompt", lambda text, answer=answer, **_: answer)
        assert stack.run("destroy") == code
    assert stack.docker.called("down") == [["--volumes", "--remove-orphans"]]


def test_destroy_needs_somebody_to_ask(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlctl.stack.command._has_terminal", lambda: False)
    assert stack.run("destroy") == 2
    assert "there is no terminal to ask on: give --yes" in stack.err
    assert stack.docker.called("down") == []


def test_what_docker_says_is_shown_and_one_sentence_more(stack: Stack) -> None:
    stack.docker.answer("compose", "down", err="network is in use\n", code=17)
    assert stack.run("down") == 1
    assert stack.err == "network is in use\netlctl: docker compose down failed (exit code 17)\n"


# -- ps, logs, build -----------------------------------------------------------------------------


def test_what_is_only_passed_on(stack: Stack) -> None:
    stack.docker.answer("compose", "logs", out="loader-1 | hello\n")
    assert stack.run("logs", "--follow", "--tail", "5", "loader", "redis") == 0
    assert stack.out == "loader-1 | hello\n"
    assert stack.run("logs") == 0
    assert stack.docker.called("logs") == [["--follow", "--tail", "5", "loader", "redis"], []]
    assert stack.run("build", "loader") == 0
    assert stack.docker.called("build") == [["loader"]]
    assert stack.run("ps") == 0
    assert stack.docker.called("ps") == [["--all"]]


# -- scale ---------------------------------------------------------------------------------------


def test_scaling_one_names_the_others_too(stack: Stack) -> None:
    stack.docker.answer(
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


# -- restart-etl ---------------------------------------------------------------------------------


def test_containers_are_restarted_in_turn_each_when_the_one_before_is_back(stack: Stack) -> None:
    stack.docker.containers(
        container("etl-metrics"),
        container("loader"),
        container("redis"),
        container("transformer", 2),
        container("transformer", 1),
        container("extractor", state="exited"),
    )
    stack.docker.answer("restart")
    stack.docker.answer("inspect", out=["running starting\n", "running healthy\n", "running\n"])
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
    stack.docker.answer("restart")
    stack.docker.answer("inspect", out=f"{state}\n")
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


# -- status --------------------------------------------------------------------------------------


def everything() -> list[dict[str, Any]]:
    return [
        container(
            name,
            state="exited" if name == "secrets" else "running",
            health="" if name == "secrets" else "healthy",
        )
        for name in SERVICES
    ]


def test_status_shows_the_containers_and_the_books(stack: Stack) -> None:
    stack.docker.containers(*everything())
    stack.docker.answer("compose", "run", out="Every extracted sample is accounted for.\n")
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
    stack.docker.answer("compose", "run", code=3)
    assert stack.run("status") == 3


def test_status_of_the_monitoring_alone_asks_no_redis(stack: Stack) -> None:
    stack.docker.containers(*everything())
    assert stack.run("status", "--monitoring-only") == 0
    assert stack.docker.called("compose", "run") == []


def test_status_where_nothing_runs(stack: Stack) -> None:
    assert stack.run("status") == 1
    assert stack.out == "Nothing runs: start it with `etlctl stack up`.\n"


# -- Ctrl-C --------------------------------------------------------------------------------------


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
