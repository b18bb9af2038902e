"""What is in the future is judged by the source's clock, whatever the one of this machine says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.config import Query
from common.samples.columns import Samples
from tests.support.secret_folders import Capture, run

# The year 2100: the clock of this machine is behind by decades.
NOW_MS = 4_102_444_800_000
CONFIG = """\
extract: {prometheus_url: 'http://prometheus:9090', queries: [{name: raw, select: up}]}
load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b}}
"""


class Source:
    """A source with one sample, of just now."""

    def now_ms(self) -> int:
        """Its clock."""
        return NOW_MS

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The sample, whatever is asked for."""
        series = (b'{"__name__":"up"}',)
        one = np.ones(1, np.int64)
        yield Samples(series, one, one * NOW_MS, np.array([1.5]))

    def scrape_settings(self) -> SimpleNamespace:
        """It scrapes nothing that must settle."""
        return SimpleNamespace(settle_ms=lambda query, settle_seconds: 0)

    def close(self) -> None:
        """It holds nothing."""


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.extractor.replicas.client_of", lambda extract: Source())
    monkeypatch.setattr("etlctl.transform.preview.client_of", lambda extract: Source())


@pytest.mark.parametrize("command", [["once"], ["transform", "preview"]])
def test_what_the_source_has_is_not_in_the_future(
    tmp_path: Path, capsys: Capture, command: list[str]
) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    more = ["--from", "-5m"] if command == ["once"] else []

    code, out, err = run(capsys, *command, "--query", "raw", *more, "--config", str(file), "--json")

    document = json.loads(out)
    assert (code, document["dropped"]) == (0, {}), err
    assert "up value=1.5 4102444800000" in out
