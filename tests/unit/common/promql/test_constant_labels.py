"""Labels that every series has after relabelling, found without any series."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import RelabelRule
from common.promql.constant_labels import constant_labels
from common.promql.relabel import compile_rules


def rule(**fields: Any) -> RelabelRule:
    return RelabelRule(**fields)


CLUSTER = rule(target_label="cluster", replacement="eu")


@pytest.mark.parametrize(
    ("rules", "constants"),
    [
        ([], {}),
        ([CLUSTER], {"cluster": "eu"}),
        ([rule(source_labels=["a"], target_label="cluster", replacement="eu")], {"cluster": "eu"}),
        ([rule(source_labels=["a"], regex="x", target_label="c", replacement="eu")], {}),
        ([rule(source_labels=["a"], target_label="c")], {}),
        ([rule(target_label="cluster", replacement="")], {"cluster": ""}),
        # Later rules: what overwrites it, what may, and what is of other labels.
        ([CLUSTER, rule(target_label="cluster", replacement="us")], {"cluster": "us"}),
        ([CLUSTER, rule(source_labels=["a"], target_label="cluster")], {}),
        ([CLUSTER, rule(source_labels=["a"], target_label="b")], {"cluster": "eu"}),
        ([CLUSTER, rule(action="labelmap", regex="x(.*)")], {}),
        ([CLUSTER, rule(source_labels=["a"], target_label="$1", replacement="x")], {}),
        ([CLUSTER, rule(action="labeldrop", regex="clus.*")], {"cluster": ""}),
        ([CLUSTER, rule(action="labeldrop", regex="other")], {"cluster": "eu"}),
        ([CLUSTER, rule(action="labelkeep", regex="other")], {"cluster": ""}),
        ([CLUSTER, rule(action="keep", source_labels=["a"], regex="x")], {"cluster": "eu"}),
        # What follows from constants alone is constant.
        (
            [CLUSTER, rule(source_labels=["cluster"], target_label="to", replacement="x-$1")],
            {"cluster": "eu", "to": "x-eu"},
        ),
        (
            [CLUSTER, rule(action="uppercase", source_labels=["cluster"], target_label="cluster")],
            {"cluster": "EU"},
        ),
        (
            [CLUSTER, rule(source_labels=["cluster"], regex="us", target_label="b")],
            {"cluster": "eu"},
        ),
        ([rule(regex="x", target_label="b", replacement="1")], {}),
        ([rule(regex="", target_label="b", replacement="1")], {"b": "1"}),
    ],
)  # fmt: skip
def test_constants(rules: list[RelabelRule], constants: dict[str, str]) -> None:
    assert constant_labels(rules) == constants


NAMES = st.sampled_from(["a", "b", "c"])
RULES = st.one_of(
    st.builds(
        RelabelRule,
        source_labels=st.lists(NAMES, max_size=2).map(tuple),
        regex=st.sampled_from(["(.*)", ".*", "", "1", "1;?2?"]),
        target_label=st.sampled_from(["a", "b", "c", "$1"]),
        replacement=st.sampled_from(["", "1", "2", "$1", "$1;"]),
    ),
    st.builds(
        RelabelRule,
        action=st.just("labelmap"),
        regex=st.sampled_from(["a", "(.*)"]),
        replacement=st.sampled_from(["b", "c", "$1"]),
    ),
    st.builds(
        RelabelRule,
        action=st.sampled_from(["labeldrop", "labelkeep"]),
        regex=st.sampled_from(["a", "b|c", "x"]),
    ),
)


@given(
    rules=st.lists(RULES, max_size=5),
    labels=st.dictionaries(NAMES, st.sampled_from(["1", "2", "3"])),
)
def test_no_series_contradicts_a_constant(rules: list[RelabelRule], labels: dict[str, str]) -> None:
    constants = constant_labels(rules)
    compile_rules(rules)(labels)
    assert {name: labels.get(name, "") for name in constants} == constants
