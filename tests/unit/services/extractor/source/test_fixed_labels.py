"""Labels that series get in the place of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.samples.columns import Samples
from common.samples.digest import Digest
from services.extractor.source.fixed_labels import labelled
from services.verifier.late import digests_of
from services.verifier.source import SourceSeries

ADDED = {"a": 'x"y', "site": "n\u00f6rth"}


def block(*series: bytes) -> Samples:
    number = len(series)
    return Samples(
        series, np.ones(number, np.int64), np.arange(number, dtype=np.int64), np.zeros(number)
    )


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (b"{}", '{"a":"x\\"y","site":"n\u00f6rth"}'),
        (b'{"b":"1"}', '{"a":"x\\"y","site":"n\u00f6rth","b":"1"}'),
        (b'{"b":"\\u003c"}', '{"a":"x\\"y","site":"n\u00f6rth","b":"\\u003c"}'),
        (b'{"b":"\\u003c","site":"own"}', '{"a":"x\\"y","site":"n\u00f6rth","b":"<"}'),
        (b'{"a":"1","site":"own"}', '{"a":"x\\"y","site":"n\u00f6rth"}'),
        # Not a name, but what a value says.
        (b'{"b":"\\"site\\":"}', '{"a":"x\\"y","site":"n\u00f6rth","b":"\\"site\\":"}'),
    ],
)
def test_a_set_without_them_stays_as_it_is(series: bytes, expected: str) -> None:
    (found,) = labelled(iter([block(series)]), ADDED)
    assert found.series == (expected.encode(),)
    assert json.loads(found.series[0]) == {**json.loads(series), **ADDED}


def test_nothing_is_touched_without_labels() -> None:
    blocks = iter([block(b"{}")])
    assert labelled(blocks, {}) is blocks
    (empty,) = labelled(iter([Samples.empty()]), ADDED)
    assert empty.series == ()


@pytest.mark.parametrize("series", [b'{"b":"1"}', b"{}", b'{"b":"\\u003c1","site":"own"}'])
def test_the_verifier_computes_the_same_digest(series: bytes) -> None:
    (found,) = labelled(iter([block(series)]), ADDED)
    digest = Digest()
    digest.add(found)
    read = SourceSeries(json.loads(series), found.timestamps_ms, found.values)
    assert digest in digests_of([read], ADDED)
    assert digest not in digests_of([read])
