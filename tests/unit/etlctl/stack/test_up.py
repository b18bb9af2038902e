"""``etlctl stack up``: what is checked first, how docker is called, what is printed afterwards."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from etlctl.stack import preflight
from tests.doubles.docker import container
from tests.unit.etlctl.stack.world import Stack


def test_up_makes_secrets_starts_and_prints_the_addresses(stack: Stack) -> None:
    assert stack.run("up") == 0
    assert stack.docker.called("compose", "up") == [
        ["--detach", "--wait", "--wait-timeout", "600", "--build"]
    ]
    secrets = stack.folder / "secrets"
    assert "secrets/redis_loader_password: made\n" in stack.out
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
    assert "checkout/secrets/redis_loader_password: made" in stack.out
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
    (stack.folder / "secrets" / "redis_loader_password").chmod(0o644)
    assert stack.run("up") == 2
    assert "secrets/redis_loader_password: is open to others" in stack.err
    assert len(stack.docker.called("compose", "up")) == 1


def test_an_error_of_compose_about_its_files_is_reported(stack: Stack) -> None:
    stack.docker.respond(
        "compose", "ps", err='time="…" level=warning msg="x"\nno such file: y.yml\n', code=14
    )
    assert stack.run("up") == 2
    assert stack.problems == ["docker compose ps: no such file: y.yml"]


def test_what_does_not_become_healthy_is_named(stack: Stack) -> None:
    stack.docker.containers(
        container("prometheus", health="unhealthy"),
        container("secrets", state="exited"),
        container("redis", health="healthy"),
        container("loader", state="exited", exit_code=2),
        container("grafana", state="created"),
    )
    stack.docker.respond("compose", "up", err="container etl-prometheus-1 is unhealthy\n", code=1)
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
    check = partial(
        preflight.check, is_free=lambda port: port.number != 9090, free_bytes=lambda folder: 5 << 30
    )
    monkeypatch.setattr("etlctl.stack.up.check", check)
    assert stack.run("up") == 2
    remark, problem = stack.err.splitlines()
    assert remark.startswith("note: 5,120 MiB are free")
    assert problem.startswith("etlctl: port 127.0.0.1:9090 of prometheus is taken")
    assert stack.docker.called("compose", "up") == []
    assert not (stack.folder / "secrets").exists()


def old_engine(stack: Stack) -> None:
    server = {"Version": "20.10.24", "ApiVersion": "1.41"}
    stack.docker.respond("version", out=json.dumps({"Server": server}))
    for name in ("redis", "loader"):
        stack.services[name]["healthcheck"] = {"test": ["CMD", "x"], "start_interval": "1s"}


def test_an_engine_that_does_not_know_start_interval_does_not_get_it(stack: Stack) -> None:
    old_engine(stack)
    assert stack.run("up") == 0
    assert stack.err == (
        "note: Docker 20.10.24 does not know start_interval (25 does): health is checked at short "
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
