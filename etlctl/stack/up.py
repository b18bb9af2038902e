"""Starting the stack: check first, then secrets, then compose, then where to find what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import ConfigError
from etlctl.output import remark
from etlctl.secrets.check import ALL_FILES
from etlctl.secrets.command import make_secrets
from etlctl.stack.compose import Compose, suited
from etlctl.stack.docker import ComposeFailed
from etlctl.stack.engine import Engine, find_engine
from etlctl.stack.preflight import check
from etlctl.stack.project import Project
from etlctl.stack.receivers import receiver_problems
from etlctl.stack.report import addresses
from etlctl.stack.scale import keep_scales, replicas


def up(
    compose: Compose, environ: Mapping[str, str], *, no_build: bool, wait_seconds: int
) -> list[str]:
    """Start everything and wait until it is healthy; lines with the addresses.

    Raises :class:`ConfigError`, :class:`~etlctl.stack.docker.EngineError` before anything is
    started, :class:`ComposeFailed` afterwards.
    """
    engine = find_engine(compose.docker)
    with suited(compose, engine, environ) as (runnable, changed):
        if changed:
            remark(
                f"note: Docker {engine.version} does not know start_interval (25 does): health "
                "is checked at short intervals instead"
            )
        return _up(runnable, engine, no_build=no_build, wait_seconds=wait_seconds)


def _up(compose: Compose, engine: Engine, *, no_build: bool, wait_seconds: int) -> list[str]:
    project = compose.project()
    containers = compose.containers()
    found = check(engine, project, containers)
    for sentence in (*found.remarks, *receiver_problems(project)):
        remark(f"note: {sentence}")
    if found.problems:
        raise ConfigError(*found.problems)
    secrets = secrets_folder(project, compose.folder)
    make_secrets(secrets, tls=any(name.startswith("tls_") for name in project.secret_files))
    code = compose.show(
        *("up", "--detach", "--wait", "--wait-timeout", str(wait_seconds)),
        "--no-build" if no_build else "--build",
        *keep_scales(project, replicas(containers)),
    )
    if code != 0:
        problems = (
            f"{one.name}: {one.condition()}: etlctl stack logs {one.service}"
            for one in compose.containers()
            if not project.is_well(one)
        )
        raise ComposeFailed("\n".join([f"the stack is not up (exit code {code})", *problems]))
    return list(addresses(project, secrets))


def secrets_folder(project: Project, folder: Path) -> Path:
    """The directory of secrets that the files name, relative to here if it lies below."""
    folders = {file.parent for name, file in project.secret_files.items() if name in ALL_FILES}
    if len(folders) > 1:
        raise ConfigError(
            f"the compose files expect secrets in {', '.join(map(str, sorted(folders)))}: "
            "it must be one directory"
        )
    found = folders.pop() if folders else folder / "secrets"
    here = Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found
