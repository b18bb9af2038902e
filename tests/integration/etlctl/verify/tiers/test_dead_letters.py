"""Dead letters of a rollup, of refused points and of raw samples: counted, explained, replayed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.samples.batch import SampleBatch
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Entry, Settle
from services.transformer.transform import TransformHandler
from tests.integration.etlctl.verify.tiers.stages import Stages, windows_of

Capture = pytest.CaptureFixture[str]

# Of the metric "late", which is there for half an hour.
LATE_POINTS = 30
MINUTE_MS = 60_000


def in_the_way(stages: Stages) -> None:
    """A field of the metric is text: the sink refuses its rollup, and takes the others."""
    world = replace(stages.world, database=f"{stages.world.database}_warm")
    world.write_raw(f'late,host=odd avg="text" {world.start_ms}')


def out_of_the_way(stages: Stages) -> None:
    stages.world.influx.query('DROP MEASUREMENT "late"', database=f"{stages.world.database}_warm")


def verified(stages: Stages, capsys: Capture) -> dict[str, Any]:
    return stages.world.run(capsys, "verify", "--tier", "warm", "--json").query()


def sealed(stages: Stages, capsys: Capture) -> dict[str, int]:
    found = stages.world.run(capsys, "verify", "--sealed", "--tier", "warm", "--json")
    return windows_of(found.query())


def test_a_refused_point_is_counted_explained_and_after_its_replay_equal(
    stages: Stages, capsys: Capture
) -> None:
    in_the_way(stages)
    stages.run()

    account = stages.account()
    assert (account.dead_lettered, account.in_flight) == (LATE_POINTS, 0)
    assert account.extracted == account.loaded + sum(account.dropped.values()) + LATE_POINTS
    query = verified(stages, capsys)
    assert query["explained"]["missing"] == {"dead_lettered": LATE_POINTS}
    assert (query["verdict"], query["unexplained"]) == ("explained", 0)
    assert set(sealed(stages, capsys)) == {"intact"}

    out_of_the_way(stages)
    for letter in stages.letters:
        assert (letter.feed, letter.stage, letter.samples) == ("raw@warm", "loader", 10)
        assert stages.letters.replay(letter)
    stages.load()
    stages.seal()

    account = stages.account()
    assert (account.dead_lettered, account.in_flight) == (0, 0)
    query = verified(stages, capsys)
    assert (query["verdict"], query["missing"]) == ("equal", 0)
    assert set(sealed(stages, capsys)) == {"intact"}


def test_of_purged_points_as_many_are_excused_and_no_more(stages: Stages, capsys: Capture) -> None:
    in_the_way(stages)
    stages.run()
    out_of_the_way(stages)
    for letter in stages.letters:
        assert stages.letters.purge(letter)
    assert verified(stages, capsys)["explained"]["missing"] == {"purged": LATE_POINTS}

    stages.world.influx.query(
        f'DELETE FROM "load" WHERE "host" = \'a\' AND time >= {late_ms(stages) * 1_000_000}',
        database=f"{stages.world.database}_warm",
    )
    query = verified(stages, capsys)
    assert query["explained"]["missing"] == {"purged": LATE_POINTS}
    assert query["unexplained"] == query["missing"] - LATE_POINTS > 0


def late_ms(stages: Stages) -> int:
    """The first bucket with a sample of the metric "late"."""
    return stages.world.start_ms + 31 * MINUTE_MS


def without_odd(handler: TransformHandler, entry: Entry) -> Settle:
    """The verdict on an entry whose samples of the metric "odd" cannot be read."""
    batch = SampleBatch.decode(entry.payload, entry.samples)
    odd = np.array([b'"odd"' in labels for labels in batch.samples.series])
    refused, rest = (
        SampleBatch(batch.origin, batch.samples.of_series(wanted)) for wanted in (odd, ~odd)
    )
    (verdict,) = handler.handle([replace(entry, payload=rest.encode(), samples=len(rest))])
    assert isinstance(verdict, Settle)
    dead = DeadLetter("unreadable_labels", "for the test", refused.encode(), len(refused))
    return replace(verdict, dead=[dead])


def test_purged_samples_excuse_the_points_that_they_were_to_become_and_no_others(
    stages: Stages, capsys: Capture
) -> None:
    stages.extract()
    handler = TransformHandler.from_settings(stages.settings)
    while entries := stages.raw.read(100, 0.01):
        for entry in entries:
            verdict = without_odd(handler, entry)
            assert stages.raw.settle(entry, verdict, "transformer") is SettleResult.OK
    stages.load()
    points = 59  # of which the source has all samples
    assert verified(stages, capsys)["explained"]["missing"] == {"dead_lettered": points}

    for letter in stages.letters:
        assert letter.samples > 20
        assert stages.letters.purge(letter)
    query = verified(stages, capsys)
    assert (query["explained"]["missing"], query["unexplained"]) == ({"purged": points}, 0)

    stages.world.influx.query(
        f'DELETE FROM "load" WHERE time = {late_ms(stages) * 1_000_000}',
        database=f"{stages.world.database}_warm",
    )
    query = verified(stages, capsys)
    assert (query["explained"]["missing"], query["unexplained"]) == ({"purged": points}, 2)
