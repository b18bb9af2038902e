"""The ledger balances while dead letters are replayed and purged, whatever goes wrong meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

from common.state.dead_letters.kept import DeadLetters, KeptDeadLetter
from common.state.ledger import Ledger
from devtools.servers.redis_server import RedisServer
from etlctl.dead_letters.carry_out import Outcome, carry_out
from tests.integration.etlctl.dead_letters.world import World, one_line


def test_purge_and_replay_of_the_same_dead_letters_at_the_same_time(world: World) -> None:
    world.refuse_lines(150)
    selected = world.letters
    begin, finished = threading.Barrier(3), threading.Event()
    done: dict[str, int] = {}
    missing: dict[str, int] = {}
    imbalances: list[int] = []

    def work(name: str, order: list[KeptDeadLetter]) -> None:
        outcome = Outcome()
        with redis.Redis.from_url(world.url) as client:
            letters = DeadLetters(client, world.keys)
            step = letters.replay if name == "replay" else letters.purge
            begin.wait()
            carry_out(order, step, outcome)
        assert outcome.failed == []
        done[name], missing[name] = outcome.done, outcome.no_longer_there

    def watch() -> None:
        with redis.Redis.from_url(world.url) as client:
            ledger = Ledger(client, world.keys)
            begin.wait()
            while not finished.is_set():
                imbalances.append(ledger.audit().imbalance_samples)

    # The same order, so that both want the same dead letter nearly all the time.
    workers = [
        threading.Thread(target=work, args=("replay", selected)),
        threading.Thread(target=work, args=("purge", selected)),
    ]
    watcher = threading.Thread(target=watch)
    for thread in (*workers, watcher):
        thread.start()
    for thread in workers:
        thread.join()
    finished.set()
    watcher.join()

    assert done["replay"] + done["purge"] == 150
    assert done["replay"] == missing["purge"]
    assert done["purge"] == missing["replay"]
    assert set(imbalances) == {0}
    account = world.account()
    assert account.in_flight == done["replay"]
    assert account.dropped.get("purged", 0) == done["purge"]
    assert account.dead_lettered == 0
    payloads = list(world.client.scan_iter(world.keys.payload("*")))
    assert len(payloads) == done["replay"]


def test_at_maxmemory_replay_changes_nothing_and_purge_works(world: World) -> None:
    world.refuse_lines(3)
    before = world.letters
    world.client.config_set("maxmemory", 1)
    try:
        code, out, err = world.run("replay", "--all", "--yes")
        assert code == 3
        assert "maxmemory" in one_line(err)
        assert out == "0 dead letters (0 samples) replayed, 3 not tried.\n"
        assert world.letters == before
        assert world.account().dead_lettered == 3
        assert len(list(world.client.scan_iter(world.keys.payload("*")))) == 3
        assert world.run("list")[0] == 0
        assert world.run("purge", before[0].id, "--yes")[0] == 0
    finally:
        world.client.config_set("maxmemory", 0)
    assert world.account().dropped == {"purged": 1}
    assert world.run("replay", "--all", "--yes")[0] == 0
    assert world.account().in_flight == 2


def test_a_redis_that_dies_in_the_middle_leaves_every_dead_letter_whole(
    make_redis: Callable[..., RedisServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = make_redis(append_fsync="always")
    with server.client() as client:
        world = World(client, server.plain_url, tmp_path, capsys)
        world.refuse_lines(10)
        selected, steps = world.letters, 0

        def kill_after_four() -> None:
            nonlocal steps
            steps += 1
            if steps == 4:
                server.kill()

        outcome = Outcome()
        with pytest.raises(RedisError):
            carry_out(selected, DeadLetters(client, world.keys).replay, outcome, kill_after_four)
        assert (outcome.done, outcome.no_longer_there, outcome.failed) == (4, 0, [])
        server.start()
        assert world.letters == selected[4:]
        assert (world.account().dead_lettered, world.account().in_flight) == (6, 4)


@pytest.mark.parametrize(
    "command", [["list"], ["show", "1-1"], ["replay", "--all", "--yes"], ["purge", "1", "--yes"]]
)
def test_redis_away_ends_with_3(world: World, command: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        world.url = f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
    code, out, err = world.run(*command)
    assert (code, out) == (3, "")
    assert one_line(err).startswith("etlctl: Redis cannot be reached")
