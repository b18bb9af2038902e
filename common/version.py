"""Which version of the project runs."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The project's own, and the wheel of `etlctl` (devtools/wheel.py).
DISTRIBUTIONS = ("prometheus-influxdb-etl", "etlctl")


def project_version() -> str:
    """The installed version, or that of the clone it runs from."""
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"  # run from a clone
    if not pyproject.is_file():
        return "unknown"
    return str(tomllib.loads(pyproject.read_text())["project"]["version"])
