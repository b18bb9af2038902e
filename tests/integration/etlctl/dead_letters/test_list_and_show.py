"""``etlctl dead-letters list`` and ``show``: what an operator sees."""

from __future__ import annotations

import base64
import gzip
import os
from typing import Any

import pytest

from common.state.verdict import DeadLetter
from tests.integration.etlctl.dead_letters.world import BATCH, LINE, NOT_TEXT, World, one_line


def test_list_without_dead_letters(world: World) -> None:
    assert world.run("list") == (0, "0 dead letters (0 samples).\n", "")
    assert world.json("list") == {"matching": 0, "samples": 0, "dead_letters": [], "counted": []}


def test_list_filters_and_counts(world: World) -> None:
    world.refuse_lines(3)
    world.refuse_lines(2, reason="too_large", query="other")
    world.refuse(DeadLetter("undecodable", "no msgpack", NOT_TEXT, 5), stage="transformer")

    assert world.json("list")["matching"] == 6
    for options, number, samples in (
        (["--reason", "rejected"], 3, 3),
        (["--stage", "transformer"], 1, 5),
        (["--query", "other"], 2, 2),
        (["--query", "other", "--reason", "rejected"], 0, 0),
    ):
        found = world.json("list", *options)
        assert (found["matching"], found["samples"]) == (number, samples)
        assert len(found["dead_letters"]) == number
    newest = world.json("list", "--limit", "2")
    assert newest["matching"] == 6
    assert [letter["id"] for letter in newest["dead_letters"]] == [
        letter.id for letter in world.letters[-2:]
    ]
    assert len(world.json("list", "--limit", "0")["dead_letters"]) == 6


def test_list_for_people_shows_no_control_characters(world: World) -> None:
    world.refuse(DeadLetter("rejected", "evil \x1b[31m [b]\nx", b"x\n", 1))
    code, out, _ = world.run("list")
    assert code == 0
    assert world.letters[0].id in out
    assert "evil \\x1b[31m [b]\\nx" in out
    assert "1 dead letter (1 sample)." in out


def test_list_reads_no_payload(world: World) -> None:
    world.refuse_lines()
    before: Any = world.client.info("commandstats")
    world.run("list")
    after: Any = world.client.info("commandstats")
    for command in ("cmdstat_get", "cmdstat_mget"):
        assert after.get(command, {}).get("calls", 0) == before.get(command, {}).get("calls", 0)


def test_show_lines(world: World) -> None:
    world.refuse(DeadLetter("rejected", "why", gzip.compress(LINE.encode() * 3), 3))
    (letter,) = world.letters
    code, out, _ = world.run("show", letter.id)
    assert code == 0
    assert out.count(LINE) == 3
    for word in (
        *(letter.id, "loader", "rejected", "why", letter.entry_id, letter.window_id),
        *("select", "q@hot"),
    ):
        assert word in out
    document = world.json("show", letter.id)
    assert document["payload"] == LINE * 3
    assert (document["stage"], document["reason"], document["samples"]) == ("loader", "rejected", 3)


def test_show_cuts_many_lines_and_says_so(world: World) -> None:
    world.refuse(DeadLetter("rejected", "why", LINE.encode() * 250, 250))
    _, out, _ = world.run("show", world.letters[0].id)
    assert out.count(LINE) == 100
    assert "150 more lines" in out


def test_show_samples_that_were_never_transformed(world: World) -> None:
    world.refuse(DeadLetter("poison", "3 workers", BATCH.encode(), 3), stage="transformer")
    (letter,) = world.letters
    _, out, _ = world.run("show", letter.id)
    assert "3 samples of 2 series" in out
    assert '{"__name__":"up","job":"b"}: 2 samples: nan, 2.5' in out
    assert "1970-01-01T00:00:15Z to 1970-01-01T00:00:30Z" in out
    document = world.json("show", letter.id)
    assert document["content"]["series"] == 2
    assert base64.b64decode(document["payload_base64"]) == BATCH.encode()


def test_show_the_head_of_bytes_that_are_nothing_known(world: World) -> None:
    world.refuse(DeadLetter("undecodable", "x", NOT_TEXT, 5), stage="transformer")
    _, out, _ = world.run("show", world.letters[0].id)
    assert f"{len(NOT_TEXT)} bytes" in out
    assert "00000000  00 ff fe 20 72 61 77" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("keep", [12, -9])
def test_show_broken_gzip(world: World, keep: int) -> None:
    whole = gzip.compress(os.urandom(300))
    world.refuse(DeadLetter("corrupt", "cannot be inflated", whole[:keep] + b"\xff" * 40, 5))
    code, out, _ = world.run("show", world.letters[0].id)
    assert code == 0
    assert "00000000  1f 8b 08" in out


def test_show_a_dead_letter_without_payload(world: World) -> None:
    world.refuse_lines()
    (letter,) = world.letters
    world.client.delete(letter.payload_key)
    assert "The payload is no longer there." in world.run("show", letter.id)[1]
    assert world.json("show", letter.id)["payload"] is None


@pytest.mark.parametrize("id_", ["nonsense", "1-1", "7"])
@pytest.mark.parametrize("command", ["show", "replay", "purge"])
def test_an_unknown_id_is_one_line(world: World, command: str, id_: str) -> None:
    world.refuse_lines()
    yes = [] if command == "show" else ["--yes"]
    code, out, err = world.run(command, id_, *yes)
    assert (code, out) == (1, "")
    assert one_line(err) == f"etlctl: no dead letter has the id {id_}"
    assert world.account().dead_lettered == 1


def test_a_dead_letter_that_inflates_without_end_is_shown_as_it_is_kept(world: World) -> None:
    world.refuse(DeadLetter("rejected", "x", gzip.compress(b"\n" * (300 << 20)), 5))
    (letter,) = world.letters

    code, out, err = world.run("show", letter.id)

    assert (code, err) == (0, "")
    assert "00000000  1f 8b 08" in out
    code, out, err = world.run("replay", letter.id, "--yes")
    assert code == 1
    assert "more than the 328960 bytes that its samples can take" in one_line(err)
    assert world.account().dead_lettered == 5
