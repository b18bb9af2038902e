"""The docker command: the only place that starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import EtlError

_RESPONSE_SECONDS = 60.0
_MISSING = "docker is not installed (there is no `docker` in PATH): install Docker Engine"

# Compose builds through buildx, which would ask whether a build may read the CA bundle and pip's
# configuration, as they lie outside the project, and fails where there is no terminal to ask on.
# Whoever set their paths has allowed it already.
_BUILDING = {"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}


class EngineError(EtlError):
    """The docker command, its compose plugin or the engine cannot be used."""


class ComposeFailed(EtlError):
    """A command of docker ended with an error, which it has printed already."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command of docker printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The last line of what it printed about its failure."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


class Docker:
    """Runs ``docker`` in ``folder`` with ``environ`` (this process' own if not given)."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environ = _BUILDING | dict(os.environ if environ is None else environ)
        self._program = shutil.which("docker", path=self._environ.get("PATH"))

    @property
    def host(self) -> str:
        """The engine's address that the environment names; empty if it does not."""
        return self._environ.get("DOCKER_HOST", "")

    def capture(self, *arguments: str, deadline_seconds: float = _RESPONSE_SECONDS) -> Ran:
        """Run a command and read what it prints. Raises :class:`EngineError`."""
        try:
            ran = subprocess.run(
                [self._found(), *arguments],
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=deadline_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"docker {arguments[0]} did not answer in {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise EngineError(f"docker cannot be run: {error.strerror}") from None
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def show(self, *arguments: str) -> int:
        """Run a command whose output goes where ours goes; its exit code.

        On Ctrl-C docker gets the signal too, from the terminal, and finishes by itself first.
        """
        try:
            process = subprocess.Popen(
                [self._found(), *arguments], cwd=self._folder, env=self._environ
            )
        except OSError as error:
            raise EngineError(f"docker cannot be run: {error.strerror}") from None
        with process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.wait()
                raise

    def _found(self) -> str:
        if self._program is None:
            raise EngineError(_MISSING)
        return self._program
