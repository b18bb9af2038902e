"""Which version of the project runs."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "prometheus-influxdb-etl"


def project_version() -> str:
    """The installed version, or that of the clone it runs from."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # run from a clone
        pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
        if not pyproject.is_file():
            return "unknown"
        return str(tomllib.loads(pyproject.read_text())["project"]["version"])
