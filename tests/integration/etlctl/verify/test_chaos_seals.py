"""The fault suite's look at the seals notices what the sink lost, and a run without seals."""

from __future__ import annotations

from common.config import load_settings
from devtools.chaos.sealed import check_seals
from tests.integration.etlctl.verify.sealing import Sealer
from tests.integration.etlctl.verify.world import World


def test_a_point_that_is_gone_and_seals_that_are_not_there_are_problems(world: World) -> None:
    settings = load_settings(world.config())
    world.write(world.expected())
    (nothing,) = check_seals(settings, world.start_ms, world.end_ms).problems
    assert nothing == "raw: no sealed window was found intact"

    sealer = Sealer(world)
    sealer.seal_all(world.expected())
    whole = check_seals(settings, world.start_ms, world.end_ms)
    assert (whole.windows, whole.problems) == (len(sealer.bounds), [])
    assert whole.points == len(world.expected())

    (measurement, tags), time_ms, _ = world.expected()[0]
    world.delete(measurement, dict(tags), time_ms)
    (problem,) = check_seals(settings, world.start_ms, world.end_ms).problems
    assert problem.startswith("raw: sealed windows of ")
    assert " are thinned: " in problem
