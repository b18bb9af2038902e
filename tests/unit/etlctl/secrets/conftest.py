"""A directory with every secret in it, made once and copied by the tests that change it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from etlctl.secrets import derived, fill
from etlctl.secrets.folder import open_folder


@pytest.fixture(scope="module", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derived, "BCRYPT_COST", 4)
        yield


@pytest.fixture(scope="module")
def filled(_cheap_hashes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with everything in it, certificates too; copied by who changes it."""
    folder = tmp_path_factory.mktemp("filled") / "secrets"
    with open_folder(folder, create=True) as opened:
        fill.fill(opened, lambda name, what: None, with_tls=True)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "secrets"
    shutil.copytree(filled, copy)
    return copy
