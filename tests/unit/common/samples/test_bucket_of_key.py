"""Which bucket a series is for, told from its key."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.samples.bucket_of_key import BucketOfKey, mark_of_bucket
from common.samples.line_names import map_value
from common.samples.series import SeriesEncoder

BUCKETS = {"payments": "money", "a b,c=d": "odd", "back\\": "slash", "größe": "big", "x": "money"}


def key_of(**labels: str) -> bytes:
    packed = json.dumps({"__name__": "m,team=x", **labels}).encode()
    found = SeriesEncoder().key("select", "q", packed)
    assert isinstance(found, bytes)
    return found


@pytest.mark.parametrize(("value", "bucket"), BUCKETS.items())
def test_the_bucket_of_a_value_whatever_stands_around_it(value: str, bucket: str) -> None:
    of_key = BucketOfKey("team", BUCKETS)
    key = key_of(team=value, a="1", z="2")
    assert of_key(key) == bucket
    assert of_key(key + b" value=1 1700000000000") == bucket
    assert of_key(key_of(team=value)) == bucket
    held = map_value(value)
    assert of_key.of_tags({"team": held, "a": "1"}) == bucket
    assert of_key.of_tags({"a": held}) is None


def test_another_value_or_none_has_none() -> None:
    of_key = BucketOfKey("team", BUCKETS)
    assert of_key(key_of(team="payment")) is None
    assert of_key(key_of(a=",team=x")) is None, "nor does a text that looks like it"
    assert of_key(key_of(teams="x", my_team="x")) is None
    assert of_key(key_of()) is None


@given(st.text(), st.text(min_size=1))
def test_any_label_of_any_value(label: str, value: str) -> None:
    label = f"l{label}"
    key = key_of(**{label: value, "other": "x"})
    assert BucketOfKey(label, {value: "found"})(key) == "found"
    assert BucketOfKey(label, {value + "y": "found"})(key) is None


def test_no_bucket_has_the_mark_of_none() -> None:
    assert mark_of_bucket("money") != mark_of_bucket("odd")
    assert mark_of_bucket("") == 1
