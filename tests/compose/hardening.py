"""What must hold of every running container: no root, nothing to write to, nothing to read."""

from __future__ import annotations

from typing import Any

from tests.compose.project import Project


def ways_out(found: dict[str, Any]) -> list[str]:
    """What a container has that it should not have, from ``docker inspect``."""
    host = found["HostConfig"]
    problems = []
    user = found["Config"]["User"].split(":")[0]
    if not user.isdigit() or user == "0":
        problems.append(f"runs as {user!r}")
    if not host["ReadonlyRootfs"]:
        problems.append("its root file system can be written")
    if host["CapDrop"] != ["ALL"] or host["CapAdd"]:
        problems.append(f"capabilities: drops {host['CapDrop']}, adds {host['CapAdd']}")
    if host["Privileged"]:
        problems.append("is privileged")
    if not any(option.startswith("no-new-privileges") for option in host["SecurityOpt"] or ()):
        problems.append("may gain privileges")
    limits = ("Memory", "NanoCpus", "PidsLimit")
    problems += [f"no limit of {limit}" for limit in limits if not host[limit]]
    if host["RestartPolicy"]["Name"] != "unless-stopped":
        problems.append(f"restart policy {host['RestartPolicy']['Name']!r}")
    if not host["LogConfig"]["Config"].get("max-size"):
        problems.append("its log is not rotated")
    return problems


def published(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Host address and container port of everything that a container publishes."""
    ports = found["NetworkSettings"]["Ports"] or {}
    return {
        (binding["HostIp"], port) for port, bindings in ports.items() for binding in bindings or ()
    }


def leaks(project: Project, container: str, secrets: dict[str, str]) -> list[str]:
    """Secrets that anyone who may inspect a container or its image can read."""
    found = project.inspect(container)
    places = {
        "docker inspect": str(found),
        "the image's history": project.docker("history", "--no-trunc", found["Image"]),
        "the image": project.docker("image", "inspect", found["Image"]),
        "the log": project.docker("logs", container),
        "the processes": project.docker("top", container, "-eo", "pid,args"),
    }
    return [
        f"{name} stands in {place}"
        for place, text in places.items()
        for name, value in secrets.items()
        if value in text
    ]
