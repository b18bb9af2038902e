"""What ``etlctl stack`` relies on in docker and compose, tried on a real engine or on the fake.

``ETL_TEST_DOCKER_IMAGE`` names an image with ``sleep`` and ``true``: then the docker command of
PATH is used, and a project of its own is started and removed. The fake prints what Docker 28.2
with an engine 20.10 and compose 2.26 printed.
"""

from __future__ import annotations

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.servers.ports import HOST, free_port
from etlctl.stack.compose import Compose
from etlctl.stack.docker import Docker
from etlctl.stack.engine import find_engine
from etlctl.stack.preflight import check
from etlctl.stack.project import Port, Service
from tests.doubles.docker import FakeDocker, container

FILES = """
name: {name}
x-common: &common {{image: "{image}", command: [sleep, "1000"], init: true, network_mode: none}}
services:
  loader: {{<<: *common}}
  once:
    <<: *common
    command: ["true"]
  redis:
    <<: *common
    restart: unless-stopped
    healthcheck: {{test: [CMD, "true"], interval: 1s}}
    depends_on: {{once: {{condition: service_completed_successfully}}}}
    secrets: [redis_loader_password]
    deploy:
      resources: {{limits: {{memory: 64M}}, reservations: {{memory: 16M}}}}
  etl-metrics:
    <<: *common
    network_mode: bridge
    restart: unless-stopped
    ports: ["127.0.0.1:{port}:8083"]
  etlctl: {{<<: *common, profiles: [tools]}}
secrets:
  redis_loader_password: {{file: ./secrets/redis_loader_password}}
  unused: {{file: ./elsewhere/unused}}
"""


class World(ABC):
    """A project in a folder of its own, and how it is started."""

    def __init__(self, folder: Path) -> None:
        self.name = f"etlcontract{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.folder = folder
        self.compose = Compose(Docker(folder), folder, [])
        # The engine needs the file to start a container; compose does not, to read its files.
        self.secret = folder / "secrets" / "redis_loader_password"
        text = FILES.format(name=self.name, port=self.port, image=self.image)
        (folder / "docker-compose.yml").write_text(text, encoding="utf-8")

    @property
    @abstractmethod
    def image(self) -> str:
        """The image that the services run."""

    @abstractmethod
    def started(self) -> None:
        """After ``up`` was run."""

    @abstractmethod
    def scaled(self) -> None:
        """After loader was scaled to two."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""


class RealWorld(World):
    @property
    def image(self) -> str:
        return os.environ["ETL_TEST_DOCKER_IMAGE"]

    def started(self) -> None:
        pass

    def scaled(self) -> None:
        pass

    def close(self) -> None:
        self.compose.show("down", "--volumes", "--timeout", "0", everything=True)


class FakeWorld(World):
    def __init__(self, folder: Path, docker: FakeDocker) -> None:
        super().__init__(folder)
        self.docker = docker
        docker.respond(
            "compose",
            "config",
            out=f"""{{"name": "{self.name}", "services": {{
              "etl-metrics": {{"command": ["sleep", "1000"], "entrypoint": null, "image": "fake",
                "init": true, "network_mode": "bridge", "restart": "unless-stopped",
                "ports": [{{"mode": "ingress", "host_ip": "127.0.0.1", "target": 8083,
                            "published": "{self.port}", "protocol": "tcp"}}]}},
              "loader": {{"command": ["sleep", "1000"], "image": "fake", "network_mode": "none"}},
              "once": {{"command": ["true"], "image": "fake", "network_mode": "none"}},
              "redis": {{"command": ["sleep", "1000"], "image": "fake", "network_mode": "none",
                "depends_on": {{"once": {{"condition": "service_completed_successfully",
                                          "required": true}}}},
                "deploy": {{"resources": {{"limits": {{"memory": "67108864"}},
                            "reservations": {{"memory": "16777216"}}}}, "placement": {{}}}},
                "healthcheck": {{"test": ["CMD", "true"], "interval": "1s"}},
                "restart": "unless-stopped"}}}},
             "secrets": {{"redis_loader_password": {{"name": "x", "file": "{self.secret}"}}}}}}""",
        )

    @property
    def image(self) -> str:
        return "fake"

    def _containers(self, loaders: int) -> None:
        self.docker.containers(
            container("etl-metrics", port=self.port) | {"Labels": "depends_on=a,b"},
            *(container("loader", number + 1) for number in range(loaders)),
            container("once", state="exited"),
            container("redis", health="healthy"),
        )

    def started(self) -> None:
        self._containers(1)

    def scaled(self) -> None:
        self._containers(2)

    def close(self) -> None:
        pass


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    found: World
    if "ETL_TEST_DOCKER_IMAGE" in os.environ:
        found = RealWorld(folder)
    else:
        docker = FakeDocker(tmp_path / "docker")
        monkeypatch.setenv("PATH", f"{docker.bin}:{os.environ['PATH']}")
        found = FakeWorld(folder, docker)
    yield found
    found.close()


def test_the_engine_says_what_it_is(world: World) -> None:
    engine = find_engine(world.compose.docker)
    assert engine.local
    assert engine.memory_bytes > 1 << 28
    assert engine.cpus >= 1
    assert engine.api > (1, 20)
    assert engine.version[0].isdigit()


def test_the_files_are_resolved_without_what_only_tools_need(world: World) -> None:
    project = world.compose.project()
    assert project.name == world.name
    assert project.secret_files == {"redis_loader_password": world.secret}
    assert project.services.keys() == {"etl-metrics", "loader", "once", "redis"}
    assert project.find_port("etl-metrics") == Port(HOST, world.port)
    assert project.services["redis"] == Service(
        name="redis",
        replicas=1,
        one_shot=False,
        ports=(),
        memory_limit_bytes=64 << 20,
        memory_reserved_bytes=16 << 20,
        scheme="http",
    )
    assert project.services["loader"].one_shot


def test_containers_from_nothing_to_running_to_more(world: World) -> None:
    compose = world.compose
    assert compose.containers() == []
    world.secret.parent.mkdir()
    world.secret.write_text("a secret", encoding="utf-8")
    compose.run("up", "--detach", "--wait", "--wait-timeout", "120", "--no-build")
    world.started()
    project, containers = compose.project(), compose.containers()
    assert {(one.service, one.state, one.health) for one in containers} == {
        ("etl-metrics", "running", ""),
        ("loader", "running", ""),
        ("once", "exited", ""),
        ("redis", "running", "healthy"),
    }
    assert all(project.is_well(one) for one in containers)
    ports = frozenset({Port(HOST, world.port)})
    assert {one.service: one.ports for one in containers}["etl-metrics"] == ports
    # The port is taken, and by us.
    findings = check(find_engine(compose.docker), project, containers, free_bytes=lambda _: None)
    assert findings.problems == []

    compose.run(*("up", "--detach", "--no-recreate", "--no-deps", "--scale", "loader=2"), "loader")
    world.scaled()
    after = compose.containers()
    assert sum(one.service == "loader" for one in after) == 2
    assert {one.id for one in containers} <= {one.id for one in after}
    assert len({one.name for one in after}) == len(after)
