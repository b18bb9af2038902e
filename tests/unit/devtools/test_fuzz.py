"""The fuzzer: some thousand inputs for every target, and proof that it finds what is planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

from devtools import PROJECT_ROOT
from devtools.fuzz import limits
from devtools.fuzz.__main__ import main
from devtools.fuzz.campaign import Campaign, chunks, shares
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.report import Report, read_literal, saved_case
from devtools.fuzz.run import Failure, Tally, case_of, run
from devtools.fuzz.target import Broken, Target, require
from devtools.fuzz.targets import TARGETS

ROOT = PROJECT_ROOT
SEED = 20_240_501
INPUTS = 2_500
# What costs milliseconds each.
FEWER = {"config": 600, "loading": 1_000}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_shows_a_defect(target: type[Target]) -> None:
    failures: list[Failure] = []
    inputs = FEWER.get(target.name, INPUTS)
    tally = run(target(), SEED, range(inputs), failures.append)
    assert not failures, f"{failures[0].input}\n{failures[0].traceback}"
    assert tally.inputs == inputs
    # Neither all noise nor all harmless: both sides of the decoder are reached.
    assert tally.rejected < 0.97 * inputs
    if target.name not in ("templates", "expressions"):  # these take everything
        assert tally.rejected > 0.02 * inputs


# -- planted defects ----------------------------------------------------------------------------


class Planted(Target):
    """Fails in every way that an input can fail, at known inputs."""

    name: ClassVar[str] = "planted"

    def make(self, m: Mutator) -> tuple[int, float]:
        """A number that says what happens, and one that shows that it is the same again."""
        return m.below(200), m.float()

    def check(self, case: Any) -> bool:
        """Rarely good."""
        if case[0] == 7:
            raise KeyError("planted")
        require(case[0] != 8, "never eight", case)
        if case[0] == 9:
            while True:
                pass
        return bool(case[0] % 2)


class Deadly(Target):
    """Kills, stops or starves the process that tries it."""

    name: ClassVar[str] = "deadly"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(150)

    def check(self, case: Any) -> bool:
        """A crash of C code, a wait without work, and greed."""
        if case == 0:
            os.abort()
        if case == 1:
            time.sleep(3600)
        if case == 2:
            return len(bytearray(8 << 30)) > 0
        return True


def test_planted_defects_are_found_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INPUT_CPU_SECONDS", 0.05)
    target, failures = Planted(), list[Failure]()
    cases = [case_of(target, 1, index)[0] for index in range(1_000)]

    tally = run(target, 1, range(1_000), failures.append)

    assert {failure.index for failure in failures} == {
        index for index, case in enumerate(cases) if case in (7, 8, 9)
    }
    assert tally.failures == len(failures) > 3
    assert tally.rejected == sum(case % 2 == 0 and case != 8 for case in cases)
    signatures = {failure.signature for failure in failures}
    assert {signature.split(" ", 1)[0] for signature in signatures} == {
        "KeyError",
        "Broken:",
        "Hang",
    }
    assert "Broken: never eight" in signatures
    assert "in check" in failures[0].traceback
    assert tally.slowest[0] > 0.02


def test_an_input_is_the_same_wherever_it_is_made() -> None:
    for target in TARGETS:
        made = target()
        # repr, because nan is not equal to itself
        assert repr(case_of(made, 5, 3)) == repr(case_of(target(), 5, 3))
        assert {repr(case_of(made, 5, index)) for index in range(30)} != {repr(case_of(made, 5, 0))}


def test_every_input_can_be_read_back() -> None:
    for target in TARGETS:
        made = target()
        for index in range(60):
            case = case_of(made, 1, index)
            assert repr(read_literal(repr(case))) == repr(case)


def test_a_process_that_dies_or_waits_costs_one_input(tmp_path: Path) -> None:
    seed, inputs = 16, 120
    cases = [case_of(Deadly(), seed, index) for index in range(inputs)]
    assert [case for case in cases if case < 3] == [1, 2, 2, 0]
    report = Report(seed, tmp_path)

    Campaign([Deadly], report, processes=1, stuck_seconds=5.0).run(inputs)

    assert (report.inputs, report.failures) == (inputs, 4)
    assert {
        what.split(":")[0].split()[0]: number for (_, what), number in report.kinds.items()
    } == {
        "Died": 1,
        "Hang": 1,
        "MemoryError": 2,
    }
    saved = {saved_case(file)[1] for file in report.saved}
    assert saved == {0, 1, 2}


def test_failing_inputs_are_saved_and_fail_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(1, tmp_path)
    target = Planted()
    indices = [index for index in range(900) if case_of(target, 1, index)[0] in (7, 8)]
    run(target, 1, indices, report.failed)
    assert len(report.saved) == len(set(report.saved)) == 6, "three of each kind"
    for file in report.saved:
        name, case = saved_case(file)
        assert name == "planted"
        assert case[0] in (7, 8)
        assert main(["--again", str(file)], [Planted]) == 1
        assert "planted" in capsys.readouterr().out
    assert main(["--target", "planted", "--seed", "1", "--index", "0"], [Planted]) == 0


def test_inputs_are_shared_out_by_weight_and_all_are_tried_once() -> None:
    for inputs in (100, 12_345, 1_000_000):
        given = shares(inputs, TARGETS)
        assert sum(given.values()) == inputs
        assert all(given.values())
        seen = dict.fromkeys(given, 0)
        for chunk in chunks(given):
            assert chunk.start == seen[chunk.target]
            seen[chunk.target] = chunk.stop
        assert seen == given


def test_the_command_runs_writes_its_figures_and_judges(tmp_path: Path) -> None:
    options = ["--inputs", "400", "--seed", "7", "--build", str(tmp_path)]
    options += ["--target", "durations", "--target", "points_payloads"]
    ran = subprocess.run(
        [sys.executable, "-m", "devtools.fuzz", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads((tmp_path / "fuzz.json").read_text())
    assert (figures["seed"], figures["inputs"]) == (7, 400)
    assert set(figures["targets"]) == {"durations", "points_payloads"}
    for target in figures["targets"].values():
        assert target["inputs"] > 0
        assert target["failures"] == 0
        assert 0 < target["rejected"] < target["inputs"]
    assert "seed 7" in ran.stderr


def test_a_failure_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--inputs", "300", "--seed", "1", "--build", str(tmp_path), "--processes", "1"]
    assert main(options, [Always]) == 1
    said = capsys.readouterr()
    assert "python -m devtools.fuzz --again" in said.out
    assert json.loads((tmp_path / "fuzz.json").read_text())["targets"]["always"]["failures"] == 300


def test_stopped_from_outside_it_writes_what_it_has(tmp_path: Path) -> None:
    options = ["--inputs", "100000000", "--build", str(tmp_path)]
    options += ["--target", "durations", "--processes", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "devtools.fuzz", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "inputs for 1 targets" in process.stderr.readline()
            process.terminate()
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    assert process.returncode == 130, out + err
    assert err.endswith("fuzz: interrupted\n")
    assert json.loads((tmp_path / "fuzz.json").read_text())["inputs"] < 100_000_000


class Always(Target):
    """Never holds."""

    name: ClassVar[str] = "always"

    def make(self, m: Mutator) -> int:
        """Nothing much."""
        return m.below(3)

    def check(self, case: Any) -> bool:
        """Never."""
        raise Broken("always", case)


# -- mutation -----------------------------------------------------------------------------------


def test_mutations_change_most_inputs_a_little() -> None:
    original = b'{"status":"success","data":{"resultType":"matrix","result":[1700000000.5]}}'
    made = [Mutator(Random(seed)).bytes(original, (b'"', b"[")) for seed in range(2_000)]
    changed = [data for data in made if data != original]
    assert len(changed) > 1_900
    assert sum(len(data) < 2 * len(original) for data in changed) > 1_600
    assert sum(data[:10] == original[:10] for data in changed) > 1_000
    assert len(set(made)) > 1_500
    assert max(map(len, made)) <= 1 << 16
    assert sum(b"99999999999999999999" in data for data in made) > 10, "numbers at their ends"


def test_documents_keep_their_shape_and_lose_some_of_it() -> None:
    original = {"a": [1, {"b": "text"}], "c": {"d": 2.5}}
    made = [Mutator(Random(seed)).document(original) for seed in range(1_000)]
    assert original == {"a": [1, {"b": "text"}], "c": {"d": 2.5}}, "not in place"
    assert sum(isinstance(value, dict) and "a" in value for value in made) > 500
    assert sum(value != original for value in made) > 900


def test_tallies_add_up() -> None:
    one, other = Tally(3, 1, 0, (0.5, 2)), Tally(4, 2, 1, (0.25, 9))
    one.add(other)
    assert one == Tally(7, 3, 1, (0.5, 2))
