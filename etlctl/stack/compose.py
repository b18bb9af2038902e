"""``docker compose`` with the project's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values

from common.errors import ConfigError
from etlctl.stack import old_engine
from etlctl.stack.docker import ComposeFailed, Docker
from etlctl.stack.engine import Engine
from etlctl.stack.project import Container, Project, read_containers, read_project

MAIN_FILE = "docker-compose.yml"
OVERRIDE_FILE = "docker-compose.override.yml"
MONITORING_FILE = "docker-compose.monitoring.yml"


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
        ran = self.docker.capture(*self._leading, "config", "--format", "json")
        if ran.code != 0:
            raise ConfigError(f"the compose files cannot be read: {ran.message}")
        return ran.out

    def project(self) -> Project:
        """The resolved files. Raises :class:`ConfigError` with compose's message about them."""
        return read_project(self.config())

    def containers(self) -> list[Container]:
        """Those of the project, running or not. Raises :class:`ConfigError`."""
        ran = self.docker.capture(*self._leading, "ps", "--all", "--format", "json")
        if ran.code != 0:
            raise ConfigError(f"docker compose ps: {ran.message}")
        return read_containers(ran.out)

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


@contextmanager
def suited(
    compose: Compose, engine: Engine, environ: Mapping[str, str]
) -> Iterator[tuple[Compose, bool]]:
    """The project as this engine can run it, and whether something had to be taken away.

    Needed by what makes containers: compose refuses to make one with a health check that has a
    start_interval, where the engine does not know that.
    """
    api = ".".join(map(str, engine.api))
    change = old_engine.override(json.loads(compose.config()), api)
    if change is None:
        yield compose, False
        return
    with TemporaryDirectory(prefix="etlctl-") as folder:
        file = Path(folder) / "old-engine.yml"
        file.write_text(change, encoding="utf-8")
        yield compose.with_file(file, environ), True


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
