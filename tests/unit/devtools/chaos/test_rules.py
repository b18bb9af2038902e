"""Which request meets which fault."""

from __future__ import annotations

import pytest

from devtools.chaos.rules import Rule, Rules


def test_a_rule_is_used_as_often_as_it_says_and_then_gone() -> None:
    rules = Rules()
    rules.add(Rule("answer", times=2))

    assert [rules.take("/x", 1) is not None for _ in range(3)] == [True, True, False]
    assert rules.hits == {"answer": 2}


def test_a_rule_without_times_holds_until_it_is_cleared() -> None:
    rules = Rules()
    rules.add(Rule("answer", times=None))

    assert all(rules.take("/x", 1) for _ in range(10))
    rules.clear()
    assert rules.take("/x", 1) is None
    assert rules.hits == {"answer": 10}


def test_rules_are_used_in_the_order_they_came() -> None:
    rules = Rules()
    for seconds in (1.0, 2.0, 3.0):
        rules.add(Rule("slow", seconds=seconds))

    taken = [rules.take("/x", 1) for _ in range(3)]

    assert [rule.seconds for rule in taken if rule] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("target", "body_bytes", "fits"),
    [
        ("/api/v2/write?bucket=b", 100, True),
        ("/api/v2/write?bucket=b", 99, False),
        ("/query?q=x", 100, False),
        ("/api/v2/write?query=time%28%29", 100, False),
    ],
)
def test_a_request_fits_by_path_words_and_size(target: str, body_bytes: int, fits: bool) -> None:
    rule = Rule("answer", path="/api/v2/write", unless="time%28%29", min_body_bytes=100)

    assert rule.fits(target, body_bytes) is fits


def test_what_does_not_fit_leaves_the_rule_to_the_next_request() -> None:
    rules = Rules()
    rules.add(Rule("answer", min_body_bytes=10))

    assert rules.take("/x", 1) is None
    assert rules.left == 1
    assert rules.take("/x", 10) is not None
    assert rules.left == 0


def test_a_rule_about_a_body_waits_until_it_was_read() -> None:
    rules = Rules()
    rules.add(Rule("answer", times=2, holding="limited_1,"))

    assert rules.read_bodies
    assert rules.take("/x", 9) is None
    assert rules.take("/x", 9, b"load_a,x=1 v=1") is None
    assert rules.take("/x", 9, b"load_a v=1\nlimited_1,x=1 v=1") is not None
    assert (rules.left, rules.hits) == (1, {"answer": 1})
    rules.clear()
    assert not rules.read_bodies


def test_a_rule_survives_its_wire_form() -> None:
    rule = Rule("answer", 3, "/a", "b", 7, 429, {"Retry-After": "1"}, "body", 1.5, 0.25, "m,")

    assert Rule.from_json(rule.as_json()) == rule


def test_a_field_that_no_rule_has_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Rule.from_json({"action": "answer", "colour": "red"})
