"""Builds a wheel of ``etlctl`` for pipx: ``python -m devtools.wheel``.

It is the project's own metadata under the name of the command: what `etlctl` needs is required, not
an extra, so that ``pipx install`` of the file is all. It holds the services too: ``etlctl run``
starts them. Nothing is downloaded.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from devtools import PROJECT_ROOT

# `etlctl stack` reads the rules of the secrets from deploy.image.
PACKAGES = ("common", "deploy", "etlctl", "services")
FOLDER = PROJECT_ROOT / "build" / "dist"


def requirements(project: dict[str, Any], extra: str = "etlctl") -> list[str]:
    """What the project needs with an extra, other extras of its own resolved."""
    found = list(project["dependencies"])
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(re.escape(project["name"]) + r"\[(.+)\]", requirement)
        found += (
            [line for name in own[1].split(",") for line in requirements(project, name)]
            if own
            else [requirement]
        )
    return sorted(set(found))


def metadata() -> str:
    """The pyproject.toml of the wheel. A list of texts is the same in JSON and TOML."""
    document = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, tools = document["project"], document["tool"]["setuptools"]
    include = [*tools["packages"]["find"]["include"], "deploy", "deploy.image"]
    kept = ("version", "requires-python", "license", "license-files", "classifiers")
    return "\n".join(
        [
            "[build-system]",
            f"requires = {json.dumps(document['build-system']['requires'])}",
            f"build-backend = {json.dumps(document['build-system']['build-backend'])}",
            "[project]",
            'name = "etlctl"',
            'description = "Runs, operates and verifies a pipeline from Prometheus to InfluxDB"',
            *(f"{key} = {json.dumps(project[key])}" for key in kept),
            f"dependencies = {json.dumps(requirements(project))}",
            "[project.scripts]",
            f"etlctl = {json.dumps(project['scripts']['etlctl'])}",
            "[tool.setuptools.packages.find]",
            f"include = {json.dumps(include)}",
            "[tool.setuptools.package-data]",
            *(
                f"{json.dumps(package)} = {json.dumps(files)}"
                for package, files in tools["package-data"].items()
            ),
        ]
    )


def build(folder: Path = FOLDER) -> Path:
    """Build the wheel into a folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for package in PACKAGES:
            shutil.copytree(PROJECT_ROOT / package, source / package, ignore=leftovers)
        shutil.copy(PROJECT_ROOT / "LICENSE", source)
        (source / "pyproject.toml").write_text(metadata(), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        offline = ["--no-deps", "--no-index", "--no-build-isolation"]
        subprocess.run([*pip, *offline, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


if __name__ == "__main__":
    try:
        print(build().relative_to(PROJECT_ROOT))
    except subprocess.CalledProcessError:
        sys.exit("wheel: it could not be built; pip's messages are above")
