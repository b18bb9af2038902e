"""What the transformer loads: polars only for long windows, as it takes a quarter of its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools import PROJECT_ROOT

PROGRAM = """
import sys

import numpy as np

import services.transformer.__main__
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.samples.series import SeriesEncoder
from common.state.verdict import Entry
from services.transformer.transform import TransformHandler

samples = int(sys.argv[1])
up = (b'{"__name__":"up"}',)
columns = Samples(up, np.array([samples]), np.arange(1, samples + 1), np.ones(samples))
batch = SampleBatch(Origin("q", "select", "hot", "w", 0, samples), columns)
entry = Entry("1-1", 1, "q", "hot", "select", "w", samples, batch.encode())
(settled,) = TransformHandler(SeriesEncoder()).handle([entry])
print(sum(output.samples for output in settled.outputs), "polars" in sys.modules)
"""


@pytest.mark.parametrize(("samples", "loads_polars"), [(12, False), (13, True)])
def test_polars_is_loaded_for_long_windows_alone(samples: int, loads_polars: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(samples)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(samples), str(loads_polars)]
