"""``docker compose`` with the project's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dotenv import dotenv_values

from common.errors import ConfigError
from etlctl.stack.docker import ComposeFailed, Docker
from etlctl.stack.engine import Engine
from etlctl.stack.project import Container, Project, read_containers, read_project

MAIN_FILE = "docker-compose.yml"
OVERRIDE_FILE = "docker-compose.override.yml"
MONITORING_FILE = "docker-compose.monitoring.yml"

# Engine 25; https://docs.docker.com/reference/compose-file/services/#healthcheck
_START_INTERVAL_API = (1, 44)
_QUICK_INTERVAL = "3s"


class Compose:
    """One project: its folder and the files that describe it.

    Without ``files`` compose itself decides, by COMPOSE_FILE, .env and its default names.
    """

    def __init__(self, docker: Docker, folder: Path, files: Sequence[str]) -> None:
        self.docker = docker
        self.folder = folder
        self._files = list(files)
        self._leading = ["compose", "--project-directory", str(folder)]
        for file in files:
            self._leading += ["--file", file]

    def with_file(self, file: Path, environ: Mapping[str, str]) -> Compose:
        """The same project with one more file over the others."""
        files = self._files or found_files(self.folder, environ)
        return Compose(self.docker, self.folder, [*files, str(file)])

    def config(self) -> str:
        """The resolved files as JSON. Raises :class:`ConfigError` with compose's message."""
        return self._json_of("the compose files cannot be read", "config")

    def project(self) -> Project:
        """The resolved files. Raises :class:`ConfigError` with compose's message about them."""
        return read_project(self.config())

    def containers(self) -> list[Container]:
        """Those of the project, running or not. Raises :class:`ConfigError`."""
        return read_containers(self._json_of("docker compose ps", "ps", "--all"))

    def show(self, *command: str, everything: bool = False) -> int:
        """Run a command and show what it prints; its exit code.

        ``everything``: with the services that only run on request.
        """
        profiles = ["--profile", "*"] if everything else []
        return self.docker.show(*self._leading, *profiles, *command)

    def run(self, *command: str, everything: bool = False) -> None:
        """As :meth:`show`. Raises :class:`ComposeFailed` if it does not end with 0."""
        code = self.show(*command, everything=everything)
        if code != 0:
            raise ComposeFailed(f"docker compose {command[0]} failed (exit code {code})")

    def _json_of(self, failure: str, *command: str) -> str:
        ran = self.docker.capture(*self._leading, *command, "--format", "json")
        if ran.code != 0:
            raise ConfigError(f"{failure}: {ran.message}")
        return ran.out


@contextmanager
def suited(
    compose: Compose, engine: Engine, environ: Mapping[str, str]
) -> Iterator[tuple[Compose, bool]]:
    """The project as this engine can run it, and whether something had to be taken away.

    Needed by what makes containers: compose refuses to make one with a health check that has a
    start_interval, where the engine does not know that.
    """
    change = without_start_interval(json.loads(compose.config()), engine.api)
    if change is None:
        yield compose, False
        return
    with TemporaryDirectory(prefix="etlctl-") as folder:
        file = Path(folder) / "old-engine.yml"
        file.write_text(change, encoding="utf-8")
        yield compose.with_file(file, environ), True


def without_start_interval(config: Mapping[str, Any], api: tuple[int, int]) -> str | None:
    """A compose file to lay over a project for an engine whose API is ``api``; None: no change.

    ``config`` is what ``docker compose config --format json`` prints. The first check then comes
    one interval after the start, so the intervals are short instead.
    """
    if api >= _START_INTERVAL_API:
        return None
    names = [
        name
        for name, service in config["services"].items()
        if "start_interval" in service.get("healthcheck", {})
    ]
    if not names:
        return None
    # Written by hand: !reset is a tag of compose's own, which YAML libraries do not write.
    change = f"{{start_interval: !reset null, interval: {_QUICK_INTERVAL}}}"
    return "services:\n" + "".join(f"  {name}: {{healthcheck: {change}}}\n" for name in names)


def compose_files(
    folder: Path,
    here: Path,
    extra: Sequence[Path],
    environ: Mapping[str, str],
    *,
    monitoring_only: bool,
) -> list[str]:
    """The files to name to compose; none = compose finds them itself.

    ``extra`` come last and are relative to ``here``. Once a file is named compose looks for no
    other, so that whatever it would have found is named too, unless ``extra`` names it again.
    """
    if not extra and not monitoring_only:
        return []
    files = [MONITORING_FILE] if monitoring_only else found_files(folder, environ)
    known = {(folder / file).resolve() for file in files}
    return files + [str(here / file) for file in extra if (here / file).resolve() not in known]


def found_files(folder: Path, environ: Mapping[str, str]) -> list[str]:
    """The files that compose finds by itself, by its own rules."""
    dotenv = dotenv_values(folder / ".env")
    listed = environ.get("COMPOSE_FILE") or dotenv.get("COMPOSE_FILE")
    if not listed:
        return [MAIN_FILE, *([OVERRIDE_FILE] if (folder / OVERRIDE_FILE).exists() else [])]
    separator = environ.get("COMPOSE_PATH_SEPARATOR") or dotenv.get("COMPOSE_PATH_SEPARATOR")
    return [file for file in listed.split(separator or ":") if file]
