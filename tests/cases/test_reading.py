"""A case that could not fail is refused, and a wrong expectation is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cases.conftest import RunCase
from tests.cases.runner.case import Case, CaseError, Ledger, read_case, read_cases

EXAMPLE = Path(__file__).parent / "infinity-and-nan"

Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, change: Change) -> Path:
    """A copy of the example whose ``case.yaml`` is changed."""
    copy = folder / EXAMPLE.name
    shutil.copytree(EXAMPLE, copy)
    file = copy / "case.yaml"
    said = yaml.safe_load(file.read_text())
    change(said)
    file.write_text(yaml.safe_dump(said))
    return copy


def step(said: dict[str, Any]) -> Any:
    return said["steps"][0]


REFUSED: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda said: said.update(verdicts="equal"), "verdicts"),
    "unknown key of a step": (lambda said: step(said).update(loaded=8), "loaded"),
    "unknown key of the ledger": (lambda said: step(said)["expect"].update(lost=0), "lost"),
    "unknown key of the sink": (lambda said: step(said).update(sink={"slow": True}), "slow"),
    "no steps": (lambda said: said.update(steps=[]), "steps"),
    "empty ledger": (lambda said: step(said).update(expect={}), "extracted"),
    "nothing extracted": (
        lambda said: step(said).update(expect={"extracted": 0, "loaded": 0}),
        "extracted",
    ),
    "ledger that does not balance": (
        lambda said: step(said)["expect"].update(loaded=9),
        "12 are extracted, 13 accounted",
    ),
    "no verdict": (lambda said: step(said).pop("verdict"), "verdict"),
    "unknown verdict": (lambda said: step(said).update(verdict="fine"), "verdict"),
    "incomplete without cause": (
        lambda said: step(said).update(verdict="incomplete", paused_by="refused"),
        "it is incomplete exactly if something is in flight",
    ),
    "pause of one that does not wait": (
        lambda said: step(said).update(paused_by="refused"),
        "paused_by",
    ),
    "series without points": (
        lambda said: step(said)["holds"][0].update(points={}),
        "points",
    ),
    "no public reference": (lambda said: said.update(report="somebody said so"), "report"),
    "a stand-in's fault of a real server": (
        lambda said: step(said).update(sink={"token": "inactive"}),
        "a real influxd has no token",
    ),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED)
def test_that_a_case_which_says_too_little_or_too_much_is_refused(
    tmp_path: Path, change: Change, why: str
) -> None:
    with pytest.raises(CaseError, match=why) as error:
        read_case(changed(tmp_path, change))
    assert str(error.value).startswith("infinity-and-nan: ")


@pytest.mark.parametrize("name", ["case.yaml", "etl.yaml", "input.om"])
def test_that_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = changed(tmp_path, lambda said: None)
    (folder / name).unlink()
    with pytest.raises(CaseError, match=name):
        read_case(folder)


def test_that_a_file_which_nobody_reads_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path, lambda said: None)
    (folder / "expected.json").touch()
    with pytest.raises(CaseError, match=r"expected\.json"):
        read_case(folder)


@pytest.mark.parametrize(
    ("text", "why"), [("# EOF\n", "no sample"), ("m 1 1700000001\n", "does not end with # EOF")]
)
def test_that_an_input_without_samples_or_end_is_refused(
    tmp_path: Path, text: str, why: str
) -> None:
    folder = changed(tmp_path, lambda said: None)
    (folder / "input.om").write_text(text)
    with pytest.raises(CaseError, match=why):
        read_case(folder)


def test_that_two_cases_must_not_share_a_metric(tmp_path: Path) -> None:
    changed(tmp_path, lambda said: None).rename(tmp_path / "another")
    changed(tmp_path, lambda said: None)
    with pytest.raises(CaseError, match="inf_pressure is a metric of another already"):
        read_cases(tmp_path)


def expecting(case: Case, **fields: Any) -> Case:
    """The case with another expectation of its only step."""
    (one,) = case.description.steps
    steps = (one.model_copy(update=fields),)
    return replace(case, description=case.description.model_copy(update={"steps": steps}))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another reason": (
        {"expect": Ledger(extracted=12, loaded=8, dropped={"inf": 3, "nan": 1})},
        "step 1: ledger: ",
    ),
    "more loaded": (
        {"expect": Ledger(extracted=12, loaded=9, dropped={"inf": 2, "nan": 1})},
        "step 1: ledger: ",
    ),
    "different": ({"verdict": "different"}, "step 1: verdict: "),
    "a pause": ({"paused_by": "refused"}, "step 1: paused_by: "),
}


@pytest.mark.parametrize(("fields", "found"), WRONG.values(), ids=WRONG)
def test_that_a_wrong_expectation_fails(
    run_case: RunCase, fields: dict[str, Any], found: str
) -> None:
    (difference,) = run_case(expecting(read_case(EXAMPLE), **fields))
    assert difference.startswith(found)


def test_that_a_wrong_point_in_the_sink_fails(run_case: RunCase) -> None:
    case = read_case(EXAMPLE)
    (series,) = case.description.steps[0].holds
    wrong = series.model_copy(update={"points": {**series.points, 1700000005000: 21.6}})
    (difference,) = run_case(expecting(case, holds=(wrong,)))
    assert "inf_temperature{sensor='a'}: expected" in difference
