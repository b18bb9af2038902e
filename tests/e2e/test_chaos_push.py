"""The fault suite finds out an extractor that does not keep what its 204 says, on real servers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from common.errors import StackError
from devtools.chaos.comparing import Comparer
from devtools.chaos.epochs import Epochs
from devtools.chaos.faults.push import redis_away
from devtools.chaos.kinds import FaultContext
from devtools.chaos.oracle import Oracle
from devtools.chaos.worlds.push import PushRig
from devtools.servers.binaries import Toolbox
from tests.support.broken_push import BrokenExtractor

pytestmark = pytest.mark.chaos


class OneOfEach(PushRig):
    services: ClassVar = {"extractor": 1, "transformer": 1, "loader": 1}


@pytest.fixture(scope="module")
def rig(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushRig]:
    folder = tmp_path_factory.mktemp("push")
    with OneOfEach("1", series=100, past_seconds=60, run_dir=folder, toolbox=toolbox) as rig:
        rig.until_flowing()
        rig.until_recovered()
        yield rig


def test_one_that_keeps_it_is_found_right(rig: PushRig) -> None:
    assert rig.problems() == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("early", "204 was answered when 0 of "),
        ("dropped", "the sink has 0 of "),
        ("twice", "pushed samples the ledger recorded "),
    ],
)
def test_one_that_does_not_is_found_out(rig: PushRig, tmp_path: Path, how: str, words: str) -> None:
    with BrokenExtractor(how, rig.stack.config_path, tmp_path) as broken:
        problems = rig.follow(broken.push_port)

    assert words in problems[0]
    # What it breaks is all that is wrong, and nobody else is blamed for it.
    assert len(problems) == 1 or how == "early"
    rig.until(lambda: not rig.ledger.audit().total.in_flight, "nothing is in flight")
    assert rig.follow(rig.push_ports[0]) == []
    assert rig.ledger.audit().imbalance_samples == 0


def test_a_204_without_room_in_redis_is_found_out(
    rig: PushRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Comparer(rig.stack.config_path, rig.direct_environ()) as comparer,
        BrokenExtractor("early", rig.stack.config_path, tmp_path) as broken,
    ):
        oracle = Oracle(rig, comparer, Epochs())
        context = FaultContext(rig, random.Random(1), oracle, Epochs())
        redis_away(context, "full")
        rig.until_recovered()
        monkeypatch.setattr(rig, "push_ports", [broken.push_port])
        # By then it knows that Redis is its pipeline's, and need not ask for a while.
        rig.follow(broken.push_port)
        with pytest.raises(StackError, match="204 was answered while Redis was full"):
            redis_away(context, "full")
        rig.repair()
