"""Which engines and compose plugins are refused, and with which message."""

from __future__ import annotations

import json

import pytest

from tests.unit.etlctl.stack.world import Stack


def test_without_docker(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    for command in (["up"], ["down"], ["ps"], ["status"], ["scale", "loader=1"], ["restart-etl"]):
        assert stack.run(*command) == 3
        assert stack.problems == [
            "docker is not installed (there is no `docker` in PATH): install Docker Engine"
        ]


@pytest.mark.parametrize(
    ("message", "why"),
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
def test_an_engine_that_does_not_respond(stack: Stack, message: str, why: str) -> None:
    stack.docker.respond("version", out=json.dumps({"Server": None}), err=f"{message}\n", code=1)
    assert stack.run("up") == 3
    assert len(stack.problems) == 1
    assert stack.problems[0].startswith(why)
    assert stack.docker.called("up") == []


def test_an_engine_elsewhere_is_named(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2375")
    stack.docker.respond("version", err="Cannot connect to the Docker daemon at tcp://…\n", code=1)
    assert stack.run("ps") == 3
    assert stack.problems == [
        "no Docker engine answers at tcp://10.0.0.9:2375: start it (sudo systemctl start docker)"
    ]


def test_an_old_client_reports_it_in_its_document(stack: Stack) -> None:
    info = {"ServerErrors": ["Cannot connect to the Docker daemon at unix:///x."]}
    stack.docker.respond("info", out=json.dumps(info))
    assert stack.run("ps") == 3
    assert stack.problems[0].startswith("no Docker engine answers")


def test_without_compose(stack: Stack) -> None:
    stack.docker.respond(
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
    stack.docker.respond("compose", "version", out=f"{version}\n")
    assert stack.run("ps") == code
    if code:
        assert stack.problems == [
            f"docker compose is {version}, and the compose files need 2.24 or later: "
            "update the compose plugin"
        ]


def test_an_engine_that_says_something_else(stack: Stack) -> None:
    stack.docker.respond("version", out="<html>")
    assert stack.run("ps") == 3
    assert "docker version prints something unexpected" in stack.err
    stack.docker.respond("version", out=json.dumps({"Server": {"Version": "1"}}))
    assert stack.run("ps") == 3
    assert "KeyError" in stack.err
