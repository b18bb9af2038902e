"""The Grafana under test; without one only what needs none is collected."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration.grafana.server import URL, Grafana, grafana_from_environment

if URL not in os.environ:
    collect_ignore = ["test_loads.py", "test_queries.py", "test_messages.py"]


@pytest.fixture(scope="session")
def grafana() -> Iterator[Grafana]:
    """The one that the environment names."""
    opened = grafana_from_environment()
    yield opened
    opened.close()
