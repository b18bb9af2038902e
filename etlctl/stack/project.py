"""A compose project as ``docker compose config`` and ``ps`` print it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deploy.image.receiver_secrets import RECEIVERS
from etlctl.stack.docker import EngineError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the host that leads into a container."""

    host: str
    number: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Service:
    """What is needed of a service's definition; memory is for one replica, 0 = not set.

    ``one_shot``: it does its work once and ends, as what is not to be restarted does.
    ``anonymous``: what users without a password may do, as it was configured. ``cpus`` of one
    replica at most, 0 = not set; ``binds``: files and folders of the host that it sees;
    ``receivers``: the one of them that says whom Grafana notifies.
    """

    name: str
    replicas: int
    one_shot: bool
    ports: tuple[Port, ...]
    memory_limit_bytes: int
    memory_reserved_bytes: int
    scheme: str
    anonymous: str = ""
    cpus: float = 0.0
    binds: tuple[Path, ...] = ()
    receivers: Path | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """The resolved files. ``secret_files`` are files of the host, by name."""

    name: str
    services: dict[str, Service]
    secret_files: dict[str, Path]

    def is_well(self, container: Container) -> bool:
        """Running and healthy, or ended as it should."""
        if container.running:
            return container.health in ("", "healthy")
        service = self.services.get(container.service)
        may_end = service is None or service.one_shot
        return may_end and container.state == "exited" and container.exit_code == 0

    def find_port(self, service: str) -> Port | None:
        """The first published port of a service."""
        found = self.services.get(service)
        return found.ports[0] if found and found.ports else None


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the project, running or not; ``health`` is empty without a health check."""

    id: str
    name: str
    service: str
    state: str
    health: str
    exit_code: int
    ports: frozenset[Port]

    @property
    def running(self) -> bool:
        """Whether it runs, healthy or not."""
        return self.state == "running"

    def condition(self) -> str:
        """``running, unhealthy`` or ``exited with 1``."""
        if self.state == "exited":
            return f"exited with {self.exit_code}"
        return f"{self.state}, {self.health}" if self.health else self.state


# The label that an overlay sets on a service that serves TLS.
SCHEME_LABEL = "etl.scheme"
# The label that carries GRAFANA_ANONYMOUS, because compose cannot compare it with anything.
ANONYMOUS_LABEL = "etl.anonymous"
_ONE_OFF = "com.docker.compose.oneoff=True"


def read_project(text: str) -> Project:
    """From ``docker compose config --format json``. Raises :class:`EngineError`."""
    return _reading("config", lambda: _project(json.loads(text)))


def read_containers(text: str) -> list[Container]:
    """From ``docker compose ps --format json``, without those of ``compose run``.

    One document a line, or all in one array as older versions write them. Raises
    :class:`EngineError`.
    """
    return _reading("ps", lambda: list(_containers(text)))


def _reading(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(f"docker compose {what} prints something unexpected: {error!r}") from None


def _project(document: dict[str, Any]) -> Project:
    return Project(
        name=document["name"],
        services={name: _service(name, one) for name, one in document["services"].items()},
        secret_files={
            name: Path(one["file"])
            for name, one in (document.get("secrets") or {}).items()
            if "file" in one
        },
    )


def _service(name: str, one: dict[str, Any]) -> Service:
    binds = {
        volume.get("target", ""): Path(volume["source"])
        for volume in one.get("volumes") or ()
        if volume["type"] == "bind"
    }
    deploy = one.get("deploy") or {}
    resources = deploy.get("resources") or {}
    limits, reservations = (resources.get(key) or {} for key in ("limits", "reservations"))
    replicas = one.get("scale", deploy.get("replicas"))
    labels = one.get("labels") or {}
    return Service(
        name=name,
        replicas=1 if replicas is None else int(replicas),
        one_shot=one.get("restart", "no") == "no",
        ports=tuple(_ports(one.get("ports") or ())),
        memory_limit_bytes=int(limits.get("memory") or one.get("mem_limit") or 0),
        memory_reserved_bytes=int(reservations.get("memory") or one.get("mem_reservation") or 0),
        scheme=labels.get(SCHEME_LABEL, "http"),
        anonymous=labels.get(ANONYMOUS_LABEL, ""),
        cpus=float(limits.get("cpus") or one.get("cpus") or 0),
        binds=tuple(binds.values()),
        receivers=binds.get(RECEIVERS),
    )


def _ports(those: Iterable[dict[str, Any]]) -> Iterator[Port]:
    for one in those:
        published = str(one.get("published") or "")
        # Empty: the engine picks one. A range: it takes what is free of it.
        if published.isdigit() and int(published):
            yield Port(one.get("host_ip") or "0.0.0.0", int(published), one.get("protocol", "tcp"))


def _containers(text: str) -> Iterator[Container]:
    text = text.strip()
    documents = (
        json.loads(text)
        if text.startswith("[")
        else map(json.loads, filter(None, text.splitlines()))
    )
    for one in documents:
        if _ONE_OFF not in str(one.get("Labels", "")).split(","):
            yield Container(
                id=one["ID"],
                name=one["Name"],
                service=one["Service"],
                state=one["State"],
                health=one.get("Health") or "",
                exit_code=int(one.get("ExitCode") or 0),
                ports=frozenset(
                    Port(port["URL"], int(port["PublishedPort"]), port["Protocol"])
                    for port in one.get("Publishers") or ()
                    if port.get("PublishedPort")
                ),
            )
