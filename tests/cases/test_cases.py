"""Every public situation in this folder: what happens is what its ``case.yaml`` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.conftest import RunCase
from tests.cases.runner.case import Case, read_cases

CASES = read_cases(Path(__file__).parent)


def test_that_there_are_cases() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_case(case: Case, run_case: RunCase) -> None:
    assert run_case(case) == []
