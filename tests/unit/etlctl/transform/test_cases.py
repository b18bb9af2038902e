"""Cases of the transform: those that hold pass, those that do not say what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from tests.support.secret_folders import Capture, run

CONFIG = """\
extract:
  prometheus_url: http://prometheus:9090
  queries:
    - {name: raw, select: '{job="a"}'}
    - {name: ratio, expr: a / b, step: 15s}
transform:
  relabel:
    - {source_labels: [__name__], regex: go_.*, action: drop}
load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b}}
"""
CASE = """\
- name: go is dropped
  query: raw
  interval: 10s
  samples:
    - {series: 'go_threads{job="a"}', values: [7, 8]}
    - {series: 'up{job="a"}', values: [1, NaN, -0.5]}
  lines:
    - up,job=a value=1 1767225600000
    - up,job=a value=-0.5
  drops: {relabel_dropped: 2, nan: 1}
- query: ratio
  samples:
    - {series: '{job="a"}', values: 2}
  lines: ['ratio,job=a value=2']
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "transform").mkdir()
    return file


def ran(capsys: Capture, config: Path, text: str) -> tuple[int, str, str]:
    (config.parent / "transform" / "a.yaml").write_text(text, encoding="utf-8")
    return run(capsys, "transform", "test", "--config", str(config))


def test_cases_beside_the_configuration_pass(config: Path, capsys: Capture) -> None:
    code, out, _ = ran(capsys, config, CASE)
    file = config.parent / "transform" / "a.yaml"
    assert code == 0
    assert out.splitlines() == [
        f"ok  {file}[0] (go is dropped)",
        f"ok  {file}[1]",
        "2 of 2 cases passed",
    ]


@pytest.mark.parametrize(
    ("changed", "to", "sentences"),
    [
        (
            "value=1 1767225600000",
            "value=1 1767225600001",
            [
                "not written: up,job=a value=1 1767225600001",
                "written, but not expected: up,job=a value=1 1767225600000",
            ],
        ),
        (
            "{relabel_dropped: 2, nan: 1}",
            "{nan: 1, inf: 1}",
            [
                "dropped as inf: 0 samples; expected 1",
                "dropped as relabel_dropped: 2 samples,"
                " by transform.relabel[0] (drop __name__ =~ go_.*); expected 0",
            ],
        ),
        ("    - up,job=a value=-0.5\n", "", ["written, but not expected: up,job=a value=-0.5 "]),
        (
            "  query: raw\n",
            "  query: raw\n  now: 2025-12-31T00:00:00Z\n",
            ["dropped as timestamp_in_future: 2 samples; expected 0"],
        ),
    ],
)
def test_a_case_that_fails_says_what_differs(
    config: Path, capsys: Capture, changed: str, to: str, sentences: list[str]
) -> None:
    code, out, _ = ran(capsys, config, CASE.replace(changed, to))
    assert code == 1
    assert "1 of 2 cases passed" in out
    for sentence in sentences:
        assert sentence in out


def test_one_document_says_it_all(config: Path, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(CASE.replace("nan: 1", "nan: 2"), encoding="utf-8")
    code, out, _ = run(capsys, "transform", "test", str(file), "--config", str(config), "--json")
    said = json.loads(out)
    assert (code, said["passed"], said["failed"]) == (1, 1, 1)
    assert said["cases"][0]["failures"] == ["dropped as nan: 1 samples; expected 2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "a.yaml is no YAML"),
        ("{}", "a.yaml must be a list of cases"),
        ("- 3", "a.yaml[0] must be a mapping"),
        ("- {query: raw, sample: []}", "a.yaml[0]: unknown key sample"),
        ("- {query: other}", "a.yaml[0].query: no query is named 'other': there are raw, ratio"),
        ("- {query: raw}", "a.yaml[0].samples must be a list"),
        ("- {query: raw, name: n, samples: [up]}", "a.yaml[0] (n).samples[0] must have series"),
        (CASE.replace('up{job="a"}', "up{"), "a.yaml[0] (go is dropped).samples[1].series"),
        (CASE.replace('up{job="a"}', 'up{job=~"a"}'), "has its labels with = alone"),
        (CASE.replace("[7, 8]", "[seven]"), "could not convert string to float: 'seven'"),
        (CASE.replace("10s", "soon"), "(go is dropped).interval: 'soon' is not a duration"),
        (CASE.replace("10s", "0"), "(go is dropped).interval must be longer than 0"),
        (CASE.replace("interval: 10s", "start: -1h"), "'-1h' depends on when it is asked"),
        (CASE.replace("interval: 10s", "start: noon"), "'noon' is not a time"),
        (CASE.replace("nan: 1", "nan: some"), "drops.nan must be a whole number of samples"),
    ],
)
def test_what_is_no_case_gets_one_sentence(
    config: Path, capsys: Capture, text: str, problem: str
) -> None:
    code, _, err = ran(capsys, config, text)
    assert code == 2
    assert problem in err
    assert len(err.splitlines()) == 1


def test_a_folder_without_cases_and_a_file_that_is_not_there(
    config: Path, capsys: Capture, tmp_path: Path
) -> None:
    code, _, err = run(capsys, "transform", "test", "--config", str(config))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "transform has no file that ends in .yaml or .yml" in err
    elsewhere = tmp_path / "elsewhere" / config.name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(config.read_bytes())
    code, _, err = run(capsys, "transform", "test", "--config", str(elsewhere))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "elsewhere/transform: is not there: name FILEs with cases, or make this folder" in err
    code, _, err = run(capsys, "transform", "test", "no.yaml", "--config", str(config))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "no.yaml cannot be read: No such file or directory" in err


def test_the_cases_of_the_committed_configuration_pass(capsys: Capture) -> None:
    config = PROJECT_ROOT / "config" / "etl.yaml"
    assert run(capsys, "transform", "test", "--config", str(config))[0] == 0
