"""Of one cause, a sample is kept and the rest is counted, by window; nothing is miscounted."""

from __future__ import annotations

import pytest

from common.state.ledger import Ledger
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Settle
from common.state.windows import WindowSet
from tests.integration.etlctl.dead_letters.world import LINE, World, one_line


def refuse(
    world: World, count: int, samples: int = 3, changed: dict[str, str] | None = None
) -> None:
    about = {"reason": "rejected", "measurement": "m", "query": "q"} | (changed or {})
    payload = LINE.encode() * samples
    for number in range(count):
        detail = f"conflict {number}"
        letter = DeadLetter(about["reason"], detail, payload, samples, about["measurement"])
        world.refuse(letter, query=about["query"])


def test_what_is_refused_again_and_again_is_counted_by_window(world: World) -> None:
    world.sample = 2
    refuse(world, 5)

    (only,) = world.json("list")["counted"]

    assert len(world.letters) == 2
    assert (only["samples"], only["letters"], only["detail"]) == (9, 3, "conflict 4")
    assert (only["feed"], only["measurement"], only["reason"]) == ("q@hot", "m", "rejected")
    assert only["windows"] == [
        {"start_ms": start, "end_ms": start + 1_000, "samples": 3}
        for start in (2_000, 3_000, 4_000)
    ]
    assert world.account().dead_lettered == 15
    _, out, _ = world.run("list")
    assert "9 samples more are only counted." in out
    assert "3 samples" in world.run("show", only["id"])[1]


@pytest.mark.parametrize("other", ["reason", "measurement", "query"])
def test_each_cause_has_a_sample_of_its_own(world: World, other: str) -> None:
    world.sample = 2
    refuse(world, 2)

    refuse(world, 2, changed={other: "other"})

    assert len(world.letters) == 4
    assert world.json("list")["counted"] == []


def test_all_are_kept_where_that_is_wanted(world: World) -> None:
    refuse(world, 5)

    assert len(world.letters) == 5
    assert world.account().dead_lettered == 15


def test_at_the_cap_what_is_counted_already_goes_on(world: World) -> None:
    world.sample, world.cap = 2, 3
    refuse(world, 6)  # 2 kept, and 1 for all that are counted
    assert world.results == [SettleResult.OK] * 6

    refuse(world, 1, changed={"measurement": "another"})

    assert world.results[-1] is SettleResult.DEAD_FULL
    assert world.account().dead_lettered == 18
    assert world.account().in_flight == 13


def test_purged_they_are_dropped_and_a_new_sample_is_kept(world: World) -> None:
    world.sample = 2
    refuse(world, 5)

    code, out, _ = world.run("purge", "--reason", "rejected", "--yes")

    assert (code, out) == (0, "3 dead letters (15 samples) purged.\n")
    assert world.account().dropped == {"purged": 15}
    assert world.account().dead_lettered == 0
    assert world.client.exists(world.keys.dead_kept, world.keys.dead_counted) == 0
    assert Ledger(world.client, world.keys).audit().dead_letter_entries == 0
    refuse(world, 2)
    assert len(world.letters) == 2


def test_replayed_their_windows_are_extracted_again(world: World) -> None:
    world.sample = 2
    refuse(world, 5)
    (only,) = world.json("list")["counted"]

    code, out, _ = world.run("replay", only["id"], "--yes")

    assert (code, out) == (0, "1 dead letter (9 samples) replayed.\n")
    feed = WindowSet(world.client, world.keys).status()["q@hot"]
    assert feed.backlog == [(2_000, 5_000)]
    assert feed.loaded_watermark_ms == 2_000
    assert world.account().dropped == {"extracted_again": 9}
    assert world.account().dead_lettered == 6


def test_what_nobody_plans_any_more_stays_counted(world: World) -> None:
    world.sample = 1
    refuse(world, 2)
    WindowSet(world.client, world.keys).close("q@hot", 0, "removed")

    code, _, err = world.run("replay", "--all", "--yes")

    assert code == 1
    assert "is planned no more" in one_line(err)
    assert world.json("list")["counted"][0]["samples"] == 3


def test_a_replayed_one_is_kept_again_for_its_window_is_not_known(world: World) -> None:
    world.sample = 1
    refuse(world, 1)
    (letter,) = world.letters
    (group,) = world.client.hkeys(world.keys.dead_kept)
    assert world.run("replay", letter.id, "--yes")[0] == 0
    world.client.hset(world.keys.dead_kept, group, 1)
    points = world.stream("points")
    (entry,) = points.read(1, 0.01)

    verdict = Settle(dead=[DeadLetter("rejected", "again", LINE.encode() * 3, 3, "m")])

    assert points.settle(entry, verdict, "loader") is SettleResult.OK
    assert len(world.letters) == 1
    assert world.account().dead_lettered == 3


def test_deleted_counts_show_as_loss(world: World) -> None:
    world.sample = 1
    refuse(world, 3)
    world.client.delete(world.keys.dead_counted)

    audit = Ledger(world.client, world.keys).audit()

    assert audit.deleted_dead_samples == {"q@hot": 6}
    assert audit.imbalance_samples == 6


def test_an_export_says_what_it_cannot_hold(world: World) -> None:
    world.sample = 1
    refuse(world, 3)
    file = world.folder / "letters.jsonl"

    code, out, err = world.run("export", str(file))

    assert code == 0
    assert out.startswith("1 dead letter (3 samples) written")
    assert "6 samples more are only counted, and not in the file" in err


def test_a_long_trouble_takes_little_room(world: World) -> None:
    world.sample = 1
    refuse(world, 300, samples=1)

    (only,) = world.json("list")["counted"]

    assert (only["samples"], len(only["windows"])) == (299, 200)
    assert only["windows"][0] == {"start_ms": 1_000, "end_ms": 101_000, "samples": 100}
    assert sum(window["samples"] for window in only["windows"]) == 299
    assert world.account().dead_lettered == 300
