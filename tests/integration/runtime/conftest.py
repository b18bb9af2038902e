"""Fixtures: the service under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.runtime.rig import ETL_YAML, WAIT_SECONDS, Process, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "etl.yaml").write_text(ETL_YAML)
    processes: list[Process] = []

    def start(mode: str, *options: str, **environ: str) -> Process:
        processes.append(Process(tmp_path, mode, *options, **environ))
        return processes[-1]

    yield start
    for process in processes:
        process.child.kill()
        process.child.wait(WAIT_SECONDS)
        for pipe in (process.child.stdout, process.child.stderr):
            if pipe:
                pipe.close()
