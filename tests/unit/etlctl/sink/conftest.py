"""An InfluxDB with an organisation for each test, and the job that prepares it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.influx_management import Influx, Place, a_place, an_influx
from tests.support.secret_folders import Capture
from tests.unit.etlctl.sink.job import Job


@pytest.fixture(scope="module")
def influx() -> Iterator[Influx]:
    with an_influx() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETL_CONFIG", raising=False)


@pytest.fixture
def place(influx: Influx) -> Iterator[Place]:
    with a_place(influx) as made:
        yield made


@pytest.fixture
def job(tmp_path: Path, capsys: Capture, place: Place) -> Job:
    return Job(tmp_path, capsys, place)
