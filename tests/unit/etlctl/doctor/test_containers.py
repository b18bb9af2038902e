"""The stack in containers, by a docker that responds as it was set up."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from etlctl.doctor import containers
from etlctl.doctor.containers import look_at_containers
from etlctl.doctor.report import Report
from tests.doubles.docker import FakeDocker, container
from tests.unit.etlctl.stack.world import SERVICES


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    made = FakeDocker(tmp_path / "docker")
    monkeypatch.setenv("PATH", str(made.bin))
    services = json.loads(json.dumps(SERVICES))
    services["prometheus"]["image"] = "prom/prometheus:v3"
    services["loader"] |= {"image": "etl-loader:1", "build": {"context": "."}}
    made.respond("compose", "config", out=json.dumps({"name": "etl", "services": services}))
    made.respond("image", "inspect", out="sha256:1\n")
    monkeypatch.setattr(containers, "CHECKOUT", tmp_path)
    (tmp_path / "docker-compose.yml").touch()
    return made


def said() -> dict[str, list[tuple[str, str, str]]]:
    report = Report()
    look_at_containers(report)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in report.findings:
        found.setdefault(one.check, []).append((one.level, one.detail, one.do))
    return found


def test_without_docker_there_is_nothing_to_look_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [level for level, *_ in said()["stack"]] == ["ok"]


def test_an_engine_that_is_away_matters_only_where_the_stack_is(docker: FakeDocker) -> None:
    docker.respond("version", err="Cannot connect to the Docker daemon", code=1)
    ((level, detail, _),) = said()["engine"]
    assert level == "warning" and "no Docker engine answers" in detail


def test_no_containers_of_ours(docker: FakeDocker) -> None:
    found = said()
    assert found.keys() == {"engine"}
    assert found["engine"][0][:2] == ("ok", "Docker 27.3.1; the stack is not in containers here")


def test_containers_that_are_ill_and_images_that_are_missing(docker: FakeDocker) -> None:
    docker.containers(
        container("redis", health="healthy"),
        container("loader", health="unhealthy"),
        container("extractor", state="exited", exit_code=2),
    )
    found = said()
    assert found["health"] == [
        ("failure", "etl-loader-1: running, unhealthy", "etlctl stack logs loader"),
        ("failure", "etl-extractor-1: exited with 2", "etlctl stack logs extractor"),
    ]
    assert found["images"][0][:2] == ("ok", "all 2 are there")
    assert found["secrets"][0][0] == "failure"
    docker.respond("image", "inspect", err="No such image", code=1)
    assert said()["images"] == [
        ("warning", "etl-loader:1 is not there", "etlctl stack build"),
        ("warning", "prom/prometheus:v3 is not there", "docker pull prom/prometheus:v3"),
    ]


def test_a_port_that_is_taken(docker: FakeDocker) -> None:
    docker.containers(container("redis"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = {"host_ip": "127.0.0.1", "published": str(other.getsockname()[1]), "target": 9090}
        services = {"prometheus": {"restart": "always", "ports": [taken]}}
        docker.respond("compose", "config", out=json.dumps({"name": "etl", "services": services}))
        level, detail, do = said()["ports and limits"][0]
    assert level == "failure" and f"{taken['published']} of prometheus is taken" in detail
    assert do.startswith("stop that (ss -ltnp ")
