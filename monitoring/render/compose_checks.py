"""Whether docker compose reads the compose files, which needs no engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from monitoring import PROJECT_ROOT

# As they are laid over each other: the monitoring stack alone, the deployment, and each overlay.
COMBINATIONS = (
    ("docker-compose.monitoring.yml",),
    ("docker-compose.yml",),
    ("docker-compose.yml", "deploy/compose/tls.yml"),
    ("docker-compose.yml", "deploy/compose/stand-ins.yml"),
    ("docker-compose.yml", "deploy/compose/redis-sentinel.yml"),
)
# What a file cannot do without.
_ENVIRON = {"ETL_REDIS_SENTINELS": "sentinel.example.com"}
_TIMEOUT_SECONDS = 60


def compose_is_here() -> bool:
    """Whether there is a docker command with compose; an engine need not respond."""
    if shutil.which("docker") is None:
        return False
    done = _ran("version", "--short")
    return done is not None and done.returncode == 0


def compose_problem(files: tuple[str, ...], folder: Path = PROJECT_ROOT) -> str:
    """What compose finds wrong with these files, one over the other; empty if nothing."""
    # Somebody's .env is no part of what is checked.
    arguments = ["--project-directory", str(folder), "--env-file", os.devnull]
    for name in files:
        arguments += ["--file", str(folder / name)]
    done = _ran(*arguments, "config", "--quiet")
    if done is None:
        return f"docker compose did not finish within {_TIMEOUT_SECONDS} s"
    return (done.stdout.strip() or f"exit code {done.returncode}") if done.returncode else ""


def _ran(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["docker", "compose", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")} | _ENVIRON,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
