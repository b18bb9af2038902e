"""Relabelling: templates as in Go, rules that cannot work, patterns that would hang, caches."""

from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.promql.relabel import compile_rules
from tests.support.relabelling import Rule, relabel, rule


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("$1", "one"),
        ("${1}", "one"),
        ("$0", "one-two"),
        ("$1x", ""),  # the group named 1x
        ("${1}x", "onex"),
        ("$1_x", ""),
        ("$1-x", "one-x"),
        ("$name", "two"),
        ("${name}", "two"),
        ("$names", ""),
        ("$3", ""),
        ("$99999999999999999999", ""),
        ("$01", ""),  # no number begins with a zero
        ("$$1", "$1"),
        ("$$", "$"),
        ("$$$1", "$one"),
        ("$", "$"),
        ("a$", "a$"),
        ("$-$1", "$-one"),
        ("${1", "${1"),
        ("${}", "${}"),
        ("${na-me}", "${na-me}"),
        ("$²", "$²"),  # a number, but no digit: no name begins with it
        ("$1²", "one²"),
        ("${1²}", "${1²}"),
        ("$é", ""),
        ("a${1}b${2}c", "aonebtwoc"),
        ("plain", "plain"),
    ],
)
def test_templates_expand_as_in_go(replacement: str, expected: str) -> None:
    rules = rule("a", regex="(.*)-(?P<name>.*)", target_label="d", replacement=replacement)
    relabelled = relabel({"a": "one-two"}, rules)
    assert relabelled is not None
    assert relabelled.get("d", "") == expected


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (rule("a", regex="(", target_label="b"), "regex: '(' is not valid in RE2: missing )"),
        (rule("a", regex="(?=a)", action="keep"), "regex: '(?=a)' is not valid in RE2"),
        (rule(regex=r"\1", action="labeldrop"), r"regex: '\\1' is not valid in RE2"),
        (rule("a", regex=r"x\C", action="drop"), r"regex: 'x\\C' is not valid in RE2"),
        (rule("a", regex="x{1001}", action="drop"), "regex: 'x{1001}' is not valid in RE2"),
        (rule("a"), "target_label: is needed for action replace"),
        (rule("a", action="lowercase"), "target_label: is needed for action lowercase"),
        (rule("a", action="hashmod", target_label="b"), "modulus: must be a positive number"),
        (rule("a", action="hashmod", target_label="b", modulus=0), "modulus: must be a positive"),
        (rule("a", action="labelmop"), "action: 'labelmop' is not one of replace, keep,"),
        *(
            (rule("a b", **({"target_label": "b"} | {key: "x\ud800"})), f"{key}: 'x\\ud800' is not")
            for key in ("regex", "separator", "replacement", "target_label")
        ),
    ],
)
def test_a_rule_that_cannot_work_is_named(bad: Rule, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_rules([rule("a", target_label="b"), bad])
    assert str(caught.value).startswith(f"transform.relabel[1].{problem}")


def test_all_rules_that_cannot_work_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        compile_rules([rule("a"), rule("b", regex="[", action="keep")], where="here")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "here[0].target_label",
        "here[1].regex",
    ]


def test_an_escaped_backslash_before_a_c_is_no_escape() -> None:
    assert relabel({"a": r"x\C"}, rule("a", regex=r"x\\C", action="keep")) is not None


# Patterns that keep a backtracking matcher busy for longer than anybody waits.
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){20}", "((a*)*)*b"])
@pytest.mark.parametrize("action", ["keep", "replace", "labelmap"])
def test_no_pattern_hangs(pattern: str, action: str) -> None:
    hostile = "a" * 5_000 + "!"
    rules = rule("x", regex=pattern, target_label="y", action=action)
    done: list[object] = []
    worker = threading.Thread(
        target=lambda: done.append(relabel({"x": hostile, hostile: "x"}, rules)), daemon=True
    )
    worker.start()
    worker.join(timeout=20)
    assert done, "still matching"


@given(st.text(max_size=300), st.integers(1, 2**64 - 1))
def test_hashmod_is_the_last_half_of_md5(value: str, modulus: int) -> None:
    rules = rule("a", target_label="h", modulus=modulus, action="hashmod")
    relabelled = relabel({"a": value}, rules)
    expected = int(hashlib.md5(value.encode()).hexdigest()[16:], 16) % modulus
    assert relabelled is not None
    assert relabelled["h"] == str(expected)


@given(st.lists(st.text(max_size=400), max_size=6))
def test_what_is_remembered_changes_no_result(values: list[str]) -> None:
    rules = [
        rule("a", regex="(.)(.*)", target_label="b", replacement="$2"),
        rule("b", regex="x.*", action="drop"),
        rule(regex="(.*)x", replacement="m_$1", action="labelmap"),
    ]
    shared = compile_rules(rules)
    for value in values + values:
        labels, again = {"a": value, value + "x": "1"}, {"a": value, value + "x": "1"}
        assert (shared(labels), labels) == (compile_rules(rules)(again), again)
