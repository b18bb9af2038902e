"""What would go wrong is reported before anything is started."""

from __future__ import annotations

import errno
import shutil
import socket
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from etlctl.stack.engine import Engine
from etlctl.stack.project import Container, Port, Project

# The variable that moves a published port elsewhere.
PORT_VARIABLES = {
    "prometheus": "PROMETHEUS_PORT",
    "grafana": "GRAFANA_PORT",
    "etl-metrics": "ETL_METRICS_PORT",
    "etl-simulator": "SIMULATOR_PORT",
}

_OTHERS_ENTER = stat.S_IROTH | stat.S_IXOTH
_GIB = 1 << 30
# Nothing starts below the first: volumes could not even be made. The second holds the images, what
# building them needs, and a day of data.
_DISK_NEEDED_BYTES = 1 * _GIB
_DISK_WANTED_BYTES = 6 * _GIB


@dataclass(slots=True)
class Preflight:
    """``problems`` stop the start; ``remarks`` are only printed."""

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def is_free(port: Port) -> bool:
    """Whether a program could listen there; also true where only root could try."""
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        # Connections that were closed lately do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def free_bytes(folder: str) -> int | None:
    """Free space where the engine keeps images and volumes; None if that cannot be seen."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check(
    engine: Engine,
    project: Project,
    containers: Collection[Container],
    *,
    is_free: Callable[[Port], bool] = is_free,
    free_bytes: Callable[[str], int | None] = free_bytes,
) -> Preflight:
    """Everything that is in the way, and everything that is merely worth knowing."""
    found = Preflight()
    if engine.local:
        ours = {port for one in containers if one.running for port in one.ports}
        found.problems += _taken_ports(project, ours, is_free)
        found.problems += _hidden_files(project)
        _check_disk(free_bytes(engine.root), found)
    found.problems += _too_few_cpus(engine, project)
    _check_memory(engine, project, found)
    found.problems += _odd_anonymous(project)
    return found


def _taken_ports(
    project: Project, ours: Collection[Port], is_free: Callable[[Port], bool]
) -> Iterator[str]:
    for service in project.services.values():
        for port in service.ports:
            if port in ours or is_free(port):
                continue
            variable = PORT_VARIABLES.get(service.name)
            move = f", or set {variable} to another one" if variable else ""
            yield (
                f"port {port.host}:{port.number} of {service.name} is taken by another program: "
                f"stop that (ss -ltnp 'sport = :{port.number}' names it){move}"
            )


def _odd_anonymous(project: Project) -> Iterator[str]:
    """Any value at all would switch it on, ``off`` too."""
    for service in project.services.values():
        if service.anonymous not in ("", "viewer"):
            yield (
                f"GRAFANA_ANONYMOUS is {service.anonymous!r:.40}: set it to viewer, and whoever "
                f"reaches {service.name} may look without a password, or leave it unset"
            )


def _hidden_files(project: Project) -> Iterator[str]:
    """The services run as users of their own, who see of the host's files what others may."""
    for service in project.services.values():
        for bind in service.binds:
            if hidden := _hidden(bind):
                yield (
                    f"{hidden} cannot be read by {service.name}, which runs as a user of its own: "
                    f"chmod -R o+rX {bind}"
                )


def _hidden(path: Path) -> Path | None:
    """The first file or folder at or below ``path`` that others may not read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # compose reports what it misses
    if stat.S_ISDIR(mode):
        if mode & _OTHERS_ENTER != _OTHERS_ENTER:
            return path
        return next(filter(None, map(_hidden, sorted(path.iterdir()))), None)
    return None if mode & stat.S_IROTH or not stat.S_ISREG(mode) else path


def _too_few_cpus(engine: Engine, project: Project) -> Iterator[str]:
    """An engine refuses a container that may use more than there are."""
    for service in project.services.values():
        if service.cpus > engine.cpus:
            variable = service.name.removeprefix("etl-").upper()
            variable = "ETL_METRICS" if service.name == "etl-metrics" else variable
            yield (
                f"{service.name} may use {service.cpus:g} CPUs and the engine has {engine.cpus}: "
                f"set {variable}_CPUS to {engine.cpus}"
            )


def _check_memory(engine: Engine, project: Project, found: Preflight) -> None:
    needed = limit = 0
    for service in project.services.values():
        needed += service.replicas * service.memory_reserved_bytes
        limit += service.replicas * service.memory_limit_bytes
    has = _mebibytes(engine.memory_bytes)
    if engine.memory_bytes < needed:
        found.problems.append(
            f"the engine has {has} of memory, and the services need {_mebibytes(needed)}: "
            "give it more, or run fewer replicas"
        )
    elif engine.memory_bytes < limit:
        found.remarks.append(
            f"the engine has {has} of memory, and the services may use up to {_mebibytes(limit)} "
            "together"
        )


def _check_disk(free: int | None, found: Preflight) -> None:
    if free is None or free >= _DISK_WANTED_BYTES:
        return
    has = f"{_mebibytes(free)} are free where the engine keeps images and volumes"
    if free < _DISK_NEEDED_BYTES:
        found.problems.append(
            f"{has}, and {_mebibytes(_DISK_NEEDED_BYTES)} are needed: make room "
            "(docker system df shows what uses it)"
        )
    else:
        found.remarks.append(f"{has}; images and a day of data take about 6 GiB")


def _mebibytes(size: int) -> str:
    return f"{size >> 20:,} MiB"
