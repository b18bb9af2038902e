"""Whether a Docker engine responds, and where its images come from."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from devtools import PROJECT_ROOT

STAND_IN_PYTHON = "etl-stand-in-python:3.13"
_COMMAND_SECONDS = 20
_PULL_SECONDS = 600


def _quiet(*command: str, timeout_seconds: float = _COMMAND_SECONDS) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@functools.cache
def missing() -> str | None:
    """Why the deployment cannot be tried here, in a few words; None where it can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if not _quiet("docker", "info"):
        return "no Docker engine responds"
    if not _quiet("docker", "compose", "version"):
        return "docker compose is missing"
    return None


def official_images() -> bool:
    """Whether the official images are had; ``ETL_TEST_IMAGES`` may say it: official, stand-ins."""
    wanted = os.environ.get("ETL_TEST_IMAGES", "")
    if wanted in ("official", "stand-ins"):
        return wanted == "official"
    image = "python:3.13-slim"
    return _quiet("docker", "image", "inspect", image) or _quiet(
        "docker", "pull", "--quiet", image, timeout_seconds=_PULL_SECONDS
    )


def make_stand_ins() -> None:
    """Build the base images of the stand-ins where they are not there yet."""
    subprocess.run([str(PROJECT_ROOT / "devtools" / "scripts" / "stand-ins")], check=True)
