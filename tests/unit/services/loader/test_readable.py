"""Whether an empty response means that nothing is there."""

from __future__ import annotations

import pytest

from services.loader.readable import hides

LISTED = (
    b'{"results":[{"series":[{"name":"databases","columns":["name"],"values":[["a"],["b"]]}]}]}'
)
NONE = b'{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"]}]}]}'


@pytest.mark.parametrize(
    ("status", "body", "hidden"),
    [
        (200, LISTED, False),
        (200, LISTED.replace(b'"b"', b'"c"'), True),
        (200, NONE, True),
        (200, b'{"results":[{"statement_id":0}]}', True),
        (200, b'{"results":[{"error":"not supported"}]}', False),
        (200, b'{"results":[]}', False),
        (200, b'{"results":[{"series":[{"values":[5]}]}]}', False),
        (200, b"<html>", False),
        (200, b"[" * 30_000, False),
        (401, LISTED.replace(b'"b"', b'"c"'), False),
        (404, b"", False),
    ],
)
def test_only_a_list_without_the_bucket_hides_it(status: int, body: bytes, hidden: bool) -> None:
    assert hides(status, body, "b") is hidden
