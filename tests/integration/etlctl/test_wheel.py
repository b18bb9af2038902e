"""The wheel of etlctl works where there is no checkout."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devtools.wheel import build, metadata

MINIMAL = """\
extract: {prometheus_url: "http://localhost:9090"}
load: {influxdb: {url: "http://localhost:8086", org: monitoring, bucket: health_metrics}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel alone, and a folder to work in."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build(folder / "dist")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, timeout=60)
    (folder / "etl.yaml").write_text(MINIMAL)
    return folder


def etlctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it there. What it requires comes from here, so that nothing is downloaded."""
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    return subprocess.run(
        [folder / "venv" / "bin" / "etlctl", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_is_what_was_built_and_says_its_version(folder: Path) -> None:
    ran = etlctl(folder, "--version")
    version = importlib.metadata.version("prometheus-influxdb-etl")
    assert (ran.returncode, ran.stdout) == (0, f"etlctl {version}\n"), ran.stderr
    where = subprocess.run(
        [folder / "venv/bin/python", "-c", "import common; print(common.__file__)"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(folder)


def test_it_checks_a_configuration(folder: Path) -> None:
    ran = etlctl(folder, "config", "check", "--config", "etl.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "health_metrics" in ran.stdout
    (folder / "bad.yaml").write_text(MINIMAL + "nope: 1\n")
    ran = etlctl(folder, "config", "check", "--config", "bad.yaml")
    assert (ran.returncode, "bad.yaml:3: nope" in ran.stderr) == (2, True), ran.stderr


def test_it_says_that_the_stack_needs_its_compose_files(folder: Path) -> None:
    ran = etlctl(folder, "stack", "ps")
    assert ran.returncode in (2, 3)
    assert ran.stderr.startswith("etlctl: ") and "Traceback" not in ran.stderr


def test_it_requires_every_package_that_it_imports() -> None:
    """test_packaging.py holds the extra to the imports; the wheel requires what the extra does."""
    required = {
        canonicalize_name(Requirement(line).name)
        for line in importlib.metadata.requires("prometheus-influxdb-etl") or ()
        if "extra" not in line
    }
    text = metadata()
    for name in (*required, "typer", "rich", "polars", "rq", "influxdb-client"):
        assert f'"{name}' in text
    assert "prometheus-influxdb-etl" not in text
