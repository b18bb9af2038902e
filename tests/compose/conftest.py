"""The deployment's tests run where a Docker engine responds; tests/conftest.py says so if not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import engine
from tests.compose.project import Project

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the tests of this folder out where there is no engine."""
    ours = [item for item in items if HERE in item.path.parents]
    if not ours or engine.missing() is None:
        return
    items[:] = [item for item in items if item not in ours]
    config.hook.pytest_deselected(items=ours)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole deployment, up and healthy; removed with its volumes after a file's cases."""
    with Project(tmp_path_factory.mktemp("compose")) as project:
        yield project
