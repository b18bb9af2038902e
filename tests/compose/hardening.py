"""What must hold of every running container: no root, nothing to write to, nothing to read."""

from __future__ import annotations

import json
from typing import Any

from tests.compose.project import Project

# Prints how Redis responds to commands of the user that the first argument names; "" is nobody.
_REDIS = """
import json, sys, redis
user, *commands = json.loads(sys.argv[1])
password = open(f"/run/secrets/redis_{user}_password").read().strip() if user else None
client = redis.Redis("redis", username=user or None, password=password, socket_timeout=5)
for command in commands:
    try:
        client.execute_command(*command)
        print("OK")
    except redis.exceptions.RedisError as error:
        print(type(error).__name__)
"""
_PACKAGES = (
    "import importlib.metadata as m, json, sysconfig; "
    "found = m.distributions(path=[sysconfig.get_path('purelib')]); "
    "print(json.dumps([[d.name, d.version] for d in found]))"
)


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


def default_route(project: Project, container: str) -> str | None:
    """The network that a container's default route goes through; None if it has no such route.

    Engine 20.10 gives one to who is in internal networks alone, and drops what goes there.
    """
    lines = project.docker("exec", container, "cat", "/proc/net/route").splitlines()[1:]
    rows = [line.split() for line in lines]
    gateways = [bytes.fromhex(row[2])[::-1] for row in rows if row[1] == "00000000"]
    if not gateways:
        return None
    address = ".".join(map(str, gateways[0]))
    networks = project.inspect(container)["NetworkSettings"]["Networks"]
    (name,) = (name for name, found in networks.items() if found["Gateway"] == address)
    return str(name).removeprefix(f"{project.name}_")


def redis_responses(
    project: Project, container: str, user: str, *commands: tuple[str, ...]
) -> list[str]:
    """``OK`` or the kind of the error for each command, sent from inside a container."""
    arguments = json.dumps([user, *commands])
    return project.docker("exec", container, "python", "-c", _REDIS, arguments).split()


def installed(project: Project, container: str) -> set[tuple[str, str]]:
    """Names and versions of the packages in one of the project's own images."""
    found = json.loads(project.docker("exec", container, "python", "-c", _PACKAGES))
    return {(name.lower().replace("_", "-").replace(".", "-"), version) for name, version in found}
