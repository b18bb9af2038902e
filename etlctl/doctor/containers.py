"""The stack in containers, where this machine runs it: engine, ports, images, health."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.errors import ConfigError
from etlctl.doctor.report import Report, Said, failure, ok, warning
from etlctl.secrets.check import problems as secret_problems
from etlctl.secrets.folder import open_folder
from etlctl.stack.command import CHECKOUT
from etlctl.stack.compose import MAIN_FILE, Compose, compose_files
from etlctl.stack.docker import Docker, EngineError
from etlctl.stack.engine import Engine, find_engine
from etlctl.stack.preflight import check as preflight
from etlctl.stack.project import Container, Project
from etlctl.stack.receivers import receiver_problems
from etlctl.stack.up import secrets_folder

SECTION = "containers"


def look_at_containers(report: Report) -> None:
    """Everything that ``etlctl stack`` would look at; nothing where no container of it is there."""
    if shutil.which("docker") is None or not (CHECKOUT / MAIN_FILE).is_file():
        report.add(SECTION, "stack", ok("not on this machine (no docker, or no compose files)"))
        return
    files = compose_files(CHECKOUT, Path.cwd(), (), os.environ, monitoring_only=False)
    compose = Compose(Docker(CHECKOUT), CHECKOUT, files)
    found: list[tuple[Engine, Project, list[Container]]] = []

    def engine() -> Iterator[Said]:
        try:
            docker = find_engine(compose.docker)
            containers = compose.containers()
        except (EngineError, ConfigError) as error:
            # Nothing says that the stack is meant to run here.
            yield warning(str(error), "no matter where the stack is not in containers here")
            return
        if not containers:
            yield ok(f"Docker {docker.version}; the stack is not in containers here")
            return
        found.append((docker, compose.project(), containers))
        yield ok(f"Docker {docker.version}, {len(containers)} containers")

    if not report.check(SECTION, "engine", engine) or not found:
        return
    docker, project, containers = found[0]
    report.check(SECTION, "ports and limits", lambda: _limits(docker, project, containers))
    report.check(SECTION, "images", lambda: _images(compose))
    report.check(SECTION, "health", lambda: _health(project, containers))
    report.check(SECTION, "secrets", lambda: _secrets(project, compose))


def _limits(engine: Engine, project: Project, containers: list[Container]) -> Iterator[Said]:
    found = preflight(engine, project, containers)
    for problem in found.problems:
        sentence, _, do = problem.partition(": ")
        yield failure(sentence, do)
    for remark in (*found.remarks, *receiver_problems(project)):
        yield warning(remark, "docs/deployment.md has the sizes and variables")
    if not found.problems:
        yield ok("ports, files, memory, CPUs and disk are as they are needed")


def _images(compose: Compose) -> Iterator[Said]:
    services = json.loads(compose.config())["services"]
    missing = []
    images = {one["image"]: "build" in one for one in services.values() if one.get("image")}
    for image, is_built in sorted(images.items()):
        if compose.docker.capture("image", "inspect", "--format", "{{.Id}}", image).code:
            missing.append(image)
            do = "etlctl stack build" if is_built else f"docker pull {image}"
            yield warning(f"{image} is not there", do)
    if not missing:
        yield ok(f"all {len(images)} are there")


def _health(project: Project, containers: list[Container]) -> Iterator[Said]:
    ill = [one for one in containers if not project.is_well(one)]
    for one in ill:
        yield failure(f"{one.name}: {one.condition()}", f"etlctl stack logs {one.service}")
    if not ill:
        yield ok("every container runs and is healthy, or has done its work")


def _secrets(project: Project, compose: Compose) -> Iterator[Said]:
    with open_folder(secrets_folder(project, compose.folder)) as folder:
        found = secret_problems(folder)
        for problem in found:
            yield failure(problem, "etlctl secrets init makes what is missing or out of date")
        if not found:
            yield ok(f"all in {folder.path} are private and up to date")
