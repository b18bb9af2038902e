"""``etlctl dead-letters replay`` and ``purge``: which ones, and what becomes of them."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys

import pytest

from common.state.dead_letters.kept import AnyDeadLetters, DeadLetters
from common.state.keys import POINTS
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Settle
from devtools import PROJECT_ROOT
from etlctl.dead_letters.carry_out import Outcome, carry_out
from tests.integration.etlctl.dead_letters.world import LINE, World, one_line


def test_replay_ids(world: World) -> None:
    world.refuse_lines(3)
    first, second, third = world.letters
    document = world.json("replay", first.id, third.id, first.id, "--yes")
    assert document == {
        "selected": 2,
        "replayed": 2,
        "samples": 2,
        "no_longer_there": 0,
        "failed": [],
    }
    assert world.letters == [second]
    assert (world.account().dead_lettered, world.account().in_flight) == (1, 2)
    entries = world.stream(POINTS).read(9, 0.01)
    assert [gzip.decompress(entry.payload) for entry in entries] == [LINE.encode()] * 2


def test_replay_by_reason_leaves_the_others(world: World) -> None:
    world.refuse_lines(2)
    world.refuse_lines(1, reason="too_large")
    code, out, _ = world.run("replay", "--reason", "too_large", "--yes")
    assert (code, out) == (0, "1 dead letter (1 sample) replayed.\n")
    assert [letter.reason for letter in world.letters] == ["rejected"] * 2
    assert world.account().in_flight == 1


def test_a_dead_letter_that_is_refused_again_is_not_replayed_again(world: World) -> None:
    world.refuse_lines(3)
    letters = DeadLetters(world.client, world.keys)
    points = world.stream(POINTS)

    def replay_and_refuse(letter: AnyDeadLetters) -> bool:
        done = letters.replay(letter)
        (entry,) = points.read(1, 0.01)
        dead = DeadLetter("rejected", "again", entry.payload, entry.samples)
        assert points.settle(entry, Settle(dead=[dead]), "loader") is SettleResult.OK
        return done

    outcome = Outcome()
    carry_out(world.letters, replay_and_refuse, outcome)

    assert outcome.done == 3
    assert [letter.detail for letter in world.letters] == ["again"] * 3
    assert world.account().dead_lettered == 3


def test_what_cannot_be_replayed_stops_nothing_else(world: World) -> None:
    world.refuse_lines(2)
    world.refuse(DeadLetter("payload_missing", "no payload", b"samples=3", 3))
    world.refuse_lines(1)
    lost = world.letters[2]
    code, out, err = world.run("replay", "--all", "--yes")
    assert code == 1
    assert lost.id in one_line(err)
    assert out == "3 dead letters (3 samples) replayed, 1 kept.\n"
    assert [letter.id for letter in world.letters] == [lost.id]
    assert world.account().in_flight == 3

    code, out, _ = world.run("replay", "--all", "--yes", "--json")
    assert code == 1
    (failed,) = json.loads(out)["failed"]
    assert failed["id"] == lost.id
    assert "its payload was lost" in failed["error"]


def test_purge_counts_samples_as_dropped(world: World) -> None:
    world.refuse_lines(3)
    world.refuse_lines(2, query="other")
    document = world.json("purge", "--query", "q", "--yes")
    assert document == {
        "selected": 3,
        "purged": 3,
        "samples": 3,
        "no_longer_there": 0,
        "failed": [],
    }
    assert world.account().dropped == {"purged": 3}
    assert world.account("other").dead_lettered == 2
    assert world.run("purge", "--all", "--yes")[0] == 0
    assert world.account("other").dropped == {"purged": 2}
    assert list(world.client.scan_iter(world.keys.payload("*"))) == []


@pytest.mark.parametrize("command", ["replay", "purge"])
@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ([], "say which"),
        (["1-1", "--all"], "one way only"),
        (["--reason", "x", "--all"], "one way only"),
        (["1-1", "--stage", "loader"], "one way only"),
    ],
)
def test_a_selection_that_says_too_little_or_too_much(
    world: World, command: str, selection: list[str], why: str
) -> None:
    world.refuse_lines()
    code, out, err = world.run(command, *selection, "--yes")
    assert (code, out) == (2, "")
    assert why in err
    assert world.account().dead_lettered == 1


@pytest.mark.parametrize("command", [["replay", "--yes"], ["purge", "--yes"], ["export", "out"]])
def test_nothing_selected_is_one_line(
    world: World, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    everything = [] if command[0] == "export" else ["--all"]
    code, out, err = world.run(*command, *everything)
    assert (code, out) == (1, "")
    assert one_line(err) == "etlctl: there are no dead letters"
    world.refuse_lines()
    code, out, err = world.run(*command, "--reason", "other", "--query", "q")
    assert (code, out) == (1, "")
    assert one_line(err) == "etlctl: no dead letter matches --reason other --query q"
    assert not (world.folder / "out").exists()


@pytest.mark.parametrize("command", ["replay", "purge"])
def test_without_a_terminal_yes_must_be_said(world: World, command: str) -> None:
    world.refuse_lines()
    code, out, err = world.run(command, "--all")
    assert (code, out) == (2, "")
    assert "say --yes" in err
    assert world.account().dead_lettered == 1


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, 0), ("n", 1, 2), ("", 1, 2), ("\x04", 1, 2)]
)
def test_on_a_terminal_it_waits_for_a_yes(world: World, answer: str, code: int, left: int) -> None:
    world.refuse_lines(2)
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "etlctl", "dead-letters", "purge", "--all"],
        env={**os.environ, "ETL_CONFIG": str(world.config())},
        cwd=PROJECT_ROOT,
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            os.close(there)
            os.write(here, answer.encode() if answer == "\x04" else f"{answer}\n".encode())
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
            os.close(here)
    assert "Purge 2 dead letters (2 samples)? They cannot be brought back. [y/N]" in err
    assert process.returncode == code
    assert "Traceback" not in err
    assert out == ("2 dead letters (2 samples) purged.\n" if not left else "")
    assert world.account().dead_lettered == left
