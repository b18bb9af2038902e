"""Rows of seals as a server that is no InfluxDB, or a damaged one, may send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from common.errors import SinkError
from common.sink.select import Select
from services.verifier.sealed.seals import SealReader
from services.verifier.sink.read import Sink


class _Rows:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = rows

    def rows(self, select: Select) -> Iterator[dict[str, Any]]:
        yield from self._rows


@pytest.mark.parametrize("row", [{"time": None}, {"time": "a"}, {"time": {}}, {}])
def test_a_seal_without_a_time_is_an_error_of_the_sink(row: dict[str, Any]) -> None:
    reader = SealReader(cast(Sink, _Rows(row)), "etl", "q", "hot")
    with pytest.raises(SinkError, match="etl_seal has a row without a time"):
        reader.span()
    with pytest.raises(SinkError, match="etl_seal has a row without a time"):
        list(reader.pages(0, 1))
