"""helm and kubernetes-validate, out of PyPI packages that are pinned by their hashes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from devtools import PROJECT_ROOT

FOLDER = PROJECT_ROOT / ".tools" / "kubernetes"
HELM = FOLDER / "helm"
PYTHON = FOLDER / "python"
LOCKS = Path(__file__).parent
CHART = PROJECT_ROOT / "deploy" / "helm"
_STAMP = FOLDER / "complete"
_TIMEOUT_SECONDS = 300


class ToolError(Exception):
    """What a tool said on its way out."""


def installed() -> bool:
    """Whether the tools are there, as the locks say."""
    return _STAMP.is_file() and _STAMP.read_text(encoding="utf-8") == _locked()


def install() -> None:
    """Bring the tools to what the locks say; raises :class:`ToolError`."""
    if installed():
        return
    _STAMP.unlink(missing_ok=True)
    for path in (PYTHON, HELM):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    _pip("validate.lock", PYTHON)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        _pip("helm.lock", Path(name))
        HELM.write_bytes(_helm_within(Path(name)))
    HELM.chmod(0o755)
    _STAMP.write_text(_locked(), encoding="utf-8")


def template(*arguments: str, release: str = "etl") -> str:
    """What the chart renders to; raises :class:`ToolError` with Helm's words."""
    return _run([str(HELM), "template", release, str(CHART), *arguments])


def lint(*arguments: str) -> str:
    """Helm's opinion of the chart; raises :class:`ToolError` if it is a bad one."""
    return _run([str(HELM), "lint", "--strict", str(CHART), *arguments])


def validate(path: Path, kubernetes_version: str) -> None:
    """Hold manifests to the schemas of a version; raises :class:`ToolError` for what is wrong.

    Unknown fields are wrong; kinds that Kubernetes itself does not have must not be among them.
    """
    command = [sys.executable, "-m", "kubernetes_validate", "--strict"]
    _run([*command, "--kubernetes-version", kubernetes_version, str(path)], PYTHONPATH=str(PYTHON))


def _locked() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(LOCKS.glob("*.lock")))


def _pip(lock: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(target)]
    _run([*command, *options, "--requirement", str(LOCKS / lock)])


def _helm_within(folder: Path) -> bytes:
    """The program: in a zip for AWS Lambda, in an npm package, in the wheel."""
    (package,) = folder.rglob("lambda-layer-kubectl-*.tgz")
    with tarfile.open(package) as npm:
        layer = npm.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ToolError(f"{package.name} holds no layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            return archive.read("helm/helm")


def _run(command: list[str], **environment: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]} did not finish within {_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise ToolError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise ToolError((done.stdout + done.stderr).strip())
    return done.stdout
