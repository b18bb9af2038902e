"""The fuzzer: some hundred inputs for every target, and proof that it finds what is planted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from devtools import PROJECT_ROOT
from devtools.fuzz import limits
from devtools.fuzz.__main__ import main, shares
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.report import Report, read_literal, saved_case
from devtools.fuzz.run import INPUT_BYTES, Failure, Tally, case_of, fuzz
from devtools.fuzz.target import Target
from devtools.fuzz.targets import TARGETS
from devtools.fuzz.targets.durations import Durations
from devtools.fuzz.workers import Job, run_jobs
from tests.unit.devtools.planted import (
    Aborting,
    Always,
    Endless,
    Greedy,
    Planted,
    Raising,
    Waiting,
)

SEED = 20_240_501
INPUTS = 150
# What costs milliseconds each.
FEWER = {"config": 60, "loading": 100}


def mutator(seed: int) -> Mutator:
    return Mutator(Random(seed).randbytes(INPUT_BYTES))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_shows_a_defect(target: type[Target]) -> None:
    inputs = FEWER.get(target.name, INPUTS)
    tally = fuzz(target(), SEED, inputs)
    for failure in tally.failures.values():
        pytest.fail(f"{failure.input}\n{failure.traceback}")
    assert tally.inputs == inputs
    # Neither all noise nor all harmless: both sides of the decoder are reached.
    assert tally.rejected < 0.97 * inputs
    if target.name not in ("templates", "expressions"):  # these take everything
        assert tally.rejected > 0.02 * inputs


# -- planted defects ----------------------------------------------------------------------------


def test_a_broken_rule_is_found_and_its_input_made_small() -> None:
    tally = fuzz(Planted(), 1, 5_000)
    assert list(tally.failures) == ["Broken: never above 980"]
    (failure,) = tally.failures.values()
    assert "in check" in failure.traceback
    numbers, _ = read_literal(failure.input)
    assert [number > 980 for number in numbers].count(True) == 1
    assert sum(numbers) < 1_000, "one number too large, the rest is nothing"
    assert tally.inputs < 5_000
    assert 0 < tally.rejected < tally.inputs


def test_an_error_that_is_not_documented_is_found() -> None:
    (failure,) = fuzz(Raising(), 1, 5_000).failures.values()
    assert failure.signature.startswith("KeyError planted.py:")
    assert (failure.error, failure.input) == ("KeyError: 'planted'", "7")


def test_what_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INPUT_CPU_SECONDS", 0.05)
    tally = fuzz(Endless(), 1, 1_000)
    (failure,) = tally.failures.values()
    assert (failure.signature, failure.input) == ("Hang", "9")
    assert tally.slowest_cpu_seconds > 0.02


def test_a_process_that_dies_or_waits_costs_one_input() -> None:
    jobs = [Job(Aborting, 1, 300), Job(Waiting, 1, 300, stuck_seconds=1.0), Job(Greedy, 1, 300)]
    found = list(run_jobs(jobs, processes=2))
    failures = {one for _, tally in found for one in tally.failures.values()}
    assert {(one.target, one.signature.split()[0], one.input) for one in failures} == {
        ("aborting", "Died:", "12"),
        ("waiting", "Died:", "12"),
        ("greedy", "MemoryError", "12"),
    }
    assert sum(job.target is Aborting for job, _ in found) == 3, "goes on with the rest, twice"


def test_an_input_is_the_same_wherever_it_is_made() -> None:
    entropy = [Random(n).randbytes(INPUT_BYTES) for n in range(30)]
    for target in TARGETS:
        made = target()
        # repr, because nan is not equal to itself
        assert repr(case_of(made, entropy[3])) == repr(case_of(target(), entropy[3]))
        assert len({repr(case_of(made, one)) for one in entropy}) > 1


def test_a_run_is_the_same_again_with_its_seed() -> None:
    began: list[list[bytes]] = [[], [], []]
    for seen, seed in zip(began, (1, 1, 2), strict=True):
        fuzz(Durations(), seed, 40, lambda entropy, _, seen=seen: seen.append(entropy))  # type: ignore[misc]
    assert began[0] == began[1] != began[2]
    assert [len(seen) for seen in began] == [40, 40, 40]


def test_every_input_can_be_read_back() -> None:
    for target in TARGETS:
        made = target()
        for n in range(60):
            case = case_of(made, Random(n).randbytes(INPUT_BYTES))
            assert repr(read_literal(repr(case))) == repr(case)


def test_failing_inputs_are_saved_and_fail_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(1, tmp_path)
    report.add("raising", fuzz(Raising(), 1, 5_000))
    (file,) = report.saved
    assert saved_case(file) == ("raising", 7)
    assert main(["--again", str(file)], [Raising]) == 1
    assert "planted" in capsys.readouterr().out
    good = json.loads(file.read_text()) | {"input": "8"}
    file.write_text(json.dumps(good))
    assert main(["--again", str(file)], [Raising]) == 0
    assert capsys.readouterr().out == "raising: accepted\n"


def test_inputs_are_shared_out_by_weight() -> None:
    for inputs in (100, 12_345, 1_000_000):
        given = shares(inputs, TARGETS)
        assert sum(given.values()) == inputs
        assert all(given.values())


def test_the_command_runs_writes_its_figures_and_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--inputs", "400", "--seed", "7", "--build", str(tmp_path), "--processes", "1"]
    options += ["--target", "durations", "--target", "points_payloads"]
    assert main(options) == 0
    figures = json.loads((tmp_path / "fuzz.json").read_text())
    assert (figures["seed"], figures["inputs"]) == (7, 400)
    assert set(figures["targets"]) == {"durations", "points_payloads"}
    for target in figures["targets"].values():
        assert target["inputs"] > 0
        assert target["failures"] == 0
        assert 0 < target["rejected"] < target["inputs"]
    assert "seed 7" in capsys.readouterr().err


def test_a_failure_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--inputs", "300", "--seed", "1", "--build", str(tmp_path), "--processes", "1"]
    assert main(options, [Always]) == 1
    assert "python -m devtools.fuzz --again" in capsys.readouterr().out
    figures = json.loads((tmp_path / "fuzz.json").read_text())
    assert figures["targets"]["always"]["failures"] == 1
    (failure,) = figures["failures"]
    assert failure == {"target": "always", "what": "Broken: always", "input": "0"}


def test_stopped_from_outside_it_writes_what_it_has(tmp_path: Path) -> None:
    options = ["--inputs", "100000000", "--build", str(tmp_path)]
    options += ["--target", "durations", "--processes", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "devtools.fuzz", *options],
        cwd=PROJECT_ROOT,
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


# -- mutation -----------------------------------------------------------------------------------


def test_mutations_change_most_inputs_a_little() -> None:
    original = b'{"status":"success","data":{"resultType":"matrix","result":[1700000000.5]}}'
    made = [mutator(seed).bytes(original, (b'"', b"[")) for seed in range(2_000)]
    changed = [data for data in made if data != original]
    assert len(changed) > 1_900
    assert sum(len(data) < 2 * len(original) for data in changed) > 1_600
    assert sum(data[:10] == original[:10] for data in changed) > 1_000
    assert len(set(made)) > 1_500
    assert max(map(len, made)) <= 1 << 16
    assert sum(b"99999999999999999999" in data for data in made) > 10, "numbers at their ends"


def test_documents_keep_their_shape_and_lose_some_of_it() -> None:
    original = {"a": [1, {"b": "text"}], "c": {"d": 2.5}}
    made = [mutator(seed).document(original) for seed in range(1_000)]
    assert original == {"a": [1, {"b": "text"}], "c": {"d": 2.5}}, "not in place"
    assert sum(isinstance(value, dict) and "a" in value for value in made) > 500
    assert sum(value != original for value in made) > 900


def test_tallies_add_up() -> None:
    failure = Failure("t", 1, "error", "signature", "", "0")
    one, other = Tally(3, 1, 0.5), Tally(4, 2, 0.25, {"signature": failure})
    one.add(other)
    assert one == Tally(7, 3, 0.5, {"signature": failure})
