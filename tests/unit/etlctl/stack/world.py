"""A checkout with compose files, and a docker that responds as it was set up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.docker import FakeDocker
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
    """A checkout with compose files, and a docker whose responses are set up."""

    def __init__(self, folder: Path, docker: FakeDocker, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.docker = docker
        self.services = json.loads(json.dumps(SERVICES))
        self.secrets = ["redis_loader_password", "prometheus_web.yml"]
        self.out = self.err = ""
        self.capfd = capfd

    def run(self, *arguments: str) -> int:
        document = {
            "name": "etl",
            "services": self.services,
            "secrets": {
                name: {"file": str(self.folder / "secrets" / name)} for name in self.secrets
            },
        }
        self.docker.respond("compose", "config", out=json.dumps(document))
        code, self.out, self.err = run_command(self.capfd, "stack", *arguments)
        return code

    @property
    def problems(self) -> list[str]:
        return [line.removeprefix("etlctl: ") for line in self.err.splitlines()]
