"""The Docker engine: its version, its compose plugin, how much memory and how many CPUs it has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from etlctl.stack.docker import Docker, EngineError, Ran

# `include` with several files of one project, and `!reset` in overrides.
MIN_COMPOSE = (2, 24)

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers. ``local``: on this machine, so that its ports and disk are ours.

    ``compose`` is None for a build that does not report its version.
    """

    version: str
    api: Version
    compose: Version | None
    memory_bytes: int
    cpus: int
    root: str
    local: bool


def find_engine(docker: Docker) -> Engine:
    """Raises :class:`EngineError` with one sentence: what is missing, and how to repair it."""
    about = _json_of(docker, "version")
    compose = _compose_version(docker)
    info = _json_of(docker, "info")
    try:
        server = about["Server"]
        return Engine(
            version=server["Version"],
            api=_version(server["ApiVersion"]) or (0, 0),
            compose=compose,
            memory_bytes=int(info["MemTotal"]),
            cpus=int(info["NCPU"]),
            root=info.get("DockerRootDir", ""),
            local=_is_local(docker),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"docker prints something unexpected: {error!r}") from None


def _json_of(docker: Docker, what: str) -> dict[str, Any]:
    ran = docker.capture(what, "--format", "{{json .}}")
    if ran.code != 0:
        raise EngineError(_why_no_engine(ran, docker.host))
    try:
        document = json.loads(ran.out)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise EngineError(f"docker {what} prints something unexpected: {ran.out[:200]!r}")
    # Older clients report here, with exit code 0, that no engine answered.
    if errors := document.get("ServerErrors"):
        raise EngineError(_why_no_engine(Ran(1, "", "\n".join(errors)), docker.host))
    return document


def _why_no_engine(ran: Ran, host: str) -> str:
    message = ran.err.lower()
    if "permission denied" in message:
        return (
            "you may not talk to the Docker engine (permission denied): join the group docker "
            '(sudo usermod -aG docker "$USER", then log in again), or use sudo'
        )
    if "cannot connect" in message or "daemon running" in message or "refused" in message:
        where = f" at {host}" if host else ""
        return f"no Docker engine answers{where}: start it (sudo systemctl start docker)"
    return f"no Docker engine answers: {ran.message}"


def _compose_version(docker: Docker) -> Version | None:
    wanted = ".".join(map(str, MIN_COMPOSE))
    ran = docker.capture("compose", "version", "--short")
    if ran.code != 0:
        raise EngineError(
            f"docker has no compose: install the compose plugin, version {wanted} or later "
            "(package docker-compose-plugin, or docker-compose-v2)"
        )
    version = _version(ran.out)
    if version is not None and version < MIN_COMPOSE:
        raise EngineError(
            f"docker compose is {ran.out.strip()}, and the compose files need {wanted} or later: "
            "update the compose plugin"
        )
    return version


def _is_local(docker: Docker) -> bool:
    host = docker.host
    if not host:
        host = docker.capture("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").out
    return not host.strip() or host.startswith(("unix://", "npipe://"))


def _version(text: str) -> Version | None:
    found = re.match(r"\s*v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
