"""Files that are not the YAML they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Settings, load_settings
from common.config.reading.yaml_tree import MAX_NODES
from common.errors import ConfigError
from tests.support.settings_files import MINIMAL, load, problems

# --- YAML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("extract:\n  a: [1\n", "etl.yaml:3:1: is not YAML: "),
        ("extract:\n\ta: 1\n", "etl.yaml:2:1: is not YAML: "),
        ("a: b: c\n", "etl.yaml:1:5: is not YAML: mapping values are not allowed here"),
        ("a: *b\n", "etl.yaml:1:4: is not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "etl.yaml:2:1: is not YAML: but found another document"),
        (
            "extract: !!python/object/apply:os.system [ls]\n",
            "etl.yaml:1: extract: has the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("extract: !!python/name:os.system\n", "etl.yaml:1:10: is not YAML: could not determine"),
        *(
            (f"a: !!{tag} {text}\n", "etl.yaml:1: a: cannot be read: ")
            for tag, text in (
                ("int", '""'),
                ("int", "x"),
                ("float", '""'),
                ("float", "x" * 5_000),
                ("bool", "x"),
                ("timestamp", "x"),
                ("timestamp", "2024-13-01"),
            )
        ),
        ("a: \x00", "etl.yaml: is not YAML: special characters are not allowed at character 3"),
    ],
)
def test_what_is_not_yaml_is_told_with_line_and_column(
    tmp_path: Path, text: str, wanted: str
) -> None:
    found = problems(tmp_path, text)
    assert any(line.startswith(wanted) and len(line) < 500 for line in found), found


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    text = (
        MINIMAL + "pipeline:\n  read_entries: 3\n  log_level: INFO\n  read_entries: 4\npipeline: {}"
    )
    assert problems(tmp_path, text) == [
        "etl.yaml:6: pipeline.read_entries: is given twice, first in line 4",
        "etl.yaml:7: pipeline: is given twice, first in line 3",
    ]


def test_a_key_that_is_not_text_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL + "pipeline: {5: a}\n? [b]\n: c\n")
    assert found[0] == "etl.yaml:3: pipeline: the key 5 is not text: put it in quotes"
    assert any("etl.yaml:4: the key a list or mapping is not text" in line for line in found)


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    rule = r'{source_labels: [a], target_label: b, regex: "\ud800", replacement: "$1\udfff"}'
    text = rf"""{MINIMAL}transform:
  relabel:
    - {rule}
  valid_metrics: [up, "\ud83d \ude42"]
  "\udfff": {{a: b}}
"""
    assert problems(tmp_path, text) == [
        r"etl.yaml:5: transform.relabel[0].regex: is not UTF-8 text: it holds '\ud800'",
        r"etl.yaml:5: transform.relabel[0].replacement: is not UTF-8 text: it holds '\udfff'",
        r"etl.yaml:6: transform.valid_metrics[1]: is not UTF-8 text: it holds '\ud83d'",
        r'etl.yaml:7: transform."\udfff": is not UTF-8 text: ' r"it holds '\udfff'",
    ]
    found = problems(tmp_path, MINIMAL + '? !!int "\\ud800"\n: 1\n')
    assert found[0] == r"etl.yaml:3: the key \ud800 is not text: put it in quotes"
    # A pair is a character, here of a key that nobody knows.
    found = problems(tmp_path, MINIMAL + r'"\ud83d\ude42": 1')
    assert found == [r'etl.yaml:3: "\ud83d\ude42": is an unknown key']


def test_a_problem_is_one_short_line_whatever_the_key(tmp_path: Path) -> None:
    key = "x" * 500
    (found,) = problems(tmp_path, f"{MINIMAL}{key}: 1\n")
    assert found == f"etl.yaml:3: {'x' * 60}…: is an unknown key"
    (found,) = problems(tmp_path, MINIMAL + '"a\\u2028b": 1\n')
    assert found == r'etl.yaml:3: "a\u2028b": is an unknown key'
    (found,) = problems(tmp_path, MINIMAL, {f"ETL__{key}": "1", "ETL": ""})
    assert found.startswith("environment variable ETL__xxx")
    assert len(found) < 300


def test_merged_keys_are_understood(tmp_path: Path) -> None:
    text = f"{MINIMAL}pipeline: &base {{read_entries: 3, drain_seconds: 4}}\n"
    other = text.replace("pipeline", "x-base") + "pipeline:\n  <<: *base\n  read_entries: 5\n"
    assert problems(tmp_path, other) == ["etl.yaml:3: x-base: is an unknown key"]
    merged = MINIMAL + "pipeline: {<<: {read_entries: 3, drain_seconds: 4}, read_entries: 5}"
    pipeline = load(tmp_path, merged).pipeline
    assert (pipeline.read_entries, pipeline.drain_seconds) == (5, 4)


def test_a_file_that_unfolds_without_end_is_refused_at_once(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    bomb = f"l0: &l0 [a,a,a,a,a,a,a,a,a]\n{levels}"
    assert problems(tmp_path, bomb) == [f"etl.yaml: unfolds to more than {MAX_NODES} values"]
    loop = "a: &a {b: *a}\n"
    assert problems(tmp_path, loop) == ["etl.yaml: is nested too deeply, or contains itself"]
    deep = "a: " + "[" * 20_000
    assert problems(tmp_path, deep) == ["etl.yaml: is nested too deeply, or contains itself"]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_bytes(MINIMAL.encode() + b"pipeline:\n  log_file: \xff\n")
    with pytest.raises(ConfigError, match=r"etl\.yaml:4: is not UTF-8 text$"):
        load_settings(file, {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_settings(tmp_path, {})
    file.write_bytes(b"# " + b"x" * (5 << 20))
    with pytest.raises(ConfigError, match="is larger than 4194304 bytes"):
        load_settings(file, {})


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert isinstance(load_settings(file, {}), Settings)
