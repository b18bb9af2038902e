"""The simulation of `make scaling-sim`, small."""

from __future__ import annotations

import pytest
from redis import Redis

from common.state.keys import Keys
from common.state.ledger import Ledger
from devtools.scaling.__main__ import parsed, simulate
from devtools.scaling.fill import Size


def test_every_step_runs_and_is_measured(redis_client: Redis) -> None:
    document = simulate(redis_client, Size(feeds=10, windows=700, entries=600))

    steps = document["steps"]
    assert len(steps) == 12
    assert all(step["cpu_ms"] > 0 for step in steps)
    named = {step["longest"] for step in steps if step["longest"]}
    assert not {name for name in named if name.startswith("EVAL")}, "each script has its name"
    audit = Ledger(redis_client, Keys("etl")).audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert len(audit.accounts) == 10


@pytest.mark.parametrize(
    "arguments", [["--feeds", "0"], ["--windows", "9"], ["--entries", "1"], ["--feeds", "x"], ["y"]]
)
def test_sizes_that_cannot_be_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(arguments)

    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_without_arguments_it_is_as_large_as_the_page_says() -> None:
    assert parsed([]) == Size(10_000, 1_000_000, 200_000)
