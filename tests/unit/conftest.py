"""What holds for all unit tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings

# A loaded machine is no defect; a test that takes too long ends by pytest's own time-out.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Leave tests of random inputs out of the coverage, where they would take twice as long."""
    for item in items:
        function = getattr(item, "function", None)
        if getattr(function, "is_hypothesis_test", False) or item.path.stem.endswith("_machine"):
            item.add_marker("no_cover")
