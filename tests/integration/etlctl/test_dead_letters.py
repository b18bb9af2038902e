"""``etlctl dead-letters`` on a real Redis: what it shows, writes and changes, and the books."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import yaml

from common.errors import EtlError
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.dead_letters import DeadLetters, Letter
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Account, Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet
from devtools import PROJECT_ROOT
from devtools.servers.redis_server import RedisServer
from etlctl.__main__ import main
from etlctl.dead_letters.carry_out import Interrupted, carry_out
from etlctl.dead_letters.export import export

Capture = pytest.CaptureFixture[str]

LINE = "m,host=a\\ b value=1 1\n"
NOT_TEXT = b"\x00\xff\xfe raw \x1b[31m bytes" * 40
BATCH = SampleBatch(
    Origin("q", "select", "hot", "w7", 0, 60_000),
    Samples(
        (b'{"__name__":"up","job":"a"}', b'{"__name__":"up","job":"b"}'),
        np.array([1, 2], np.int64),
        np.array([15_000, 15_000, 30_000], np.int64),
        np.array([1.0, float("nan"), 2.5]),
    ),
)


@dataclass
class World:
    """A feed whose entries end as dead letters, and the command on it."""

    client: redis.Redis
    url: str
    folder: Path
    capsys: Capture
    keys: Keys = field(default_factory=lambda: Keys("etlctl"))
    planned_ms: int = 0

    def refuse(self, letter: DeadLetter, stage: str = "loader", query: str = "q") -> None:
        """An entry of 10 samples more than ``letter`` has, of which the letter is refused."""
        feed = Feed(query, "hot", "select", "f")
        windows = WindowSet(self.client, self.keys)
        raw, points = self.stream(RAW), self.stream(POINTS)
        self.planned_ms += 1_000
        windows.plan(feed, 0, self.planned_ms)
        window = windows.lease(feed, "live", 10**9, 10**9)
        assert window is not None
        all_samples = letter.samples + 10
        windows.commit(feed, window, [windows.stage(b"raw", all_samples, 60)])
        (entry,) = raw.read(1, 0.01)
        if stage == "transformer":
            verdict = Settle(drops={"nan": 10}, dead=[letter])
            assert raw.settle(entry, verdict, stage) is SettleResult.OK
            return
        raw.settle(entry, Settle(outputs=[Output(b"x", all_samples)]), "transformer")
        (entry,) = points.read(1, 0.01)
        result = points.settle(entry, Settle(loaded=10, dead=[letter]), stage)
        assert result is SettleResult.OK

    def refuse_lines(self, count: int = 1, reason: str = "rejected", query: str = "q") -> None:
        for _ in range(count):
            self.refuse(DeadLetter(reason, "field type conflict", LINE.encode(), 1), query=query)

    def stream(self, name: str) -> RedisStream:
        outbound = POINTS if name == RAW else None
        found = RedisStream(self.client, self.keys, name, "w", outbound=outbound)
        found.ensure()
        return found

    @property
    def letters(self) -> list[Letter]:
        return list(DeadLetters(self.client, self.keys))

    def account(self, query: str = "q") -> Account:
        """The feed's books, after checking that all books balance."""
        audit = Ledger(self.client, self.keys).audit()
        assert audit.imbalance_samples == 0
        assert audit.lost_samples == 0
        return audit.accounts[f"{query}@hot"]

    def config(self) -> Path:
        file = self.folder / "etl.yaml"
        document = {
            "extract": {"prometheus_url": "http://127.0.0.1:9"},
            "load": {"influxdb": {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b"}},
            "pipeline": {"redis_url": self.url, "redis_namespace": self.keys.namespace},
        }
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return file

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of ``etlctl dead-letters …``."""
        with pytest.raises(SystemExit) as caught:
            main(["dead-letters", *arguments, "--config", str(self.config())])
        said = self.capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    def json(self, *arguments: str) -> Any:
        code, out, _ = self.run(*arguments, "--json")
        assert code == 0
        return json.loads(out)


@pytest.fixture
def world(
    redis_client: redis.Redis, redis_server: RedisServer, tmp_path: Path, capsys: Capture
) -> World:
    return World(redis_client, redis_server.plain_url, tmp_path, capsys)


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    assert line.startswith("etlctl: ")
    return line


# -- list ---------------------------------------------------------------------------------------


def test_list_without_letters(world: World) -> None:
    assert world.run("list") == (0, "0 dead letters (0 samples).\n", "")
    assert world.json("list") == {"matching": 0, "samples": 0, "letters": []}


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
        assert len(found["letters"]) == number
    newest = world.json("list", "--limit", "2")
    assert newest["matching"] == 6
    assert [letter["id"] for letter in newest["letters"]] == [
        letter.id for letter in world.letters[-2:]
    ]
    assert len(world.json("list", "--limit", "0")["letters"]) == 6


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


# -- show ---------------------------------------------------------------------------------------


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


def test_show_a_letter_without_payload(world: World) -> None:
    world.refuse_lines()
    (letter,) = world.letters
    world.client.delete(letter.payload_key)
    assert "The payload is gone." in world.run("show", letter.id)[1]
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


# -- replay and purge ---------------------------------------------------------------------------


def test_replay_ids(world: World) -> None:
    world.refuse_lines(3)
    first, second, third = world.letters
    document = world.json("replay", first.id, third.id, first.id, "--yes")
    assert document == {"selected": 2, "replayed": 2, "samples": 2, "gone": 0, "failed": []}
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


def test_a_replayed_letter_that_is_refused_again_is_not_replayed_again(world: World) -> None:
    world.refuse_lines(3)
    letters = DeadLetters(world.client, world.keys)
    points = world.stream(POINTS)

    def replay_and_refuse(letter: Letter) -> bool:
        done = letters.replay(letter)
        (entry,) = points.read(1, 0.01)
        dead = DeadLetter("rejected", "again", entry.payload, entry.samples)
        assert points.settle(entry, Settle(dead=[dead]), "loader") is SettleResult.OK
        return done

    outcome = carry_out(world.letters, replay_and_refuse)

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
    assert document == {"selected": 3, "purged": 3, "samples": 3, "gone": 0, "failed": []}
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
def test_on_a_terminal_it_asks(world: World, answer: str, code: int, left: int) -> None:
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


# -- the books ----------------------------------------------------------------------------------


def test_purge_and_replay_of_the_same_letters_at_the_same_time(world: World) -> None:
    world.refuse_lines(150)
    selected = world.letters
    begin, finished = threading.Barrier(3), threading.Event()
    done: dict[str, int] = {}
    gone: dict[str, int] = {}
    imbalances: list[int] = []

    def work(name: str, order: list[Letter]) -> None:
        with redis.Redis.from_url(world.url) as client:
            letters = DeadLetters(client, world.keys)
            step = letters.replay if name == "replay" else letters.purge
            begin.wait()
            outcome = carry_out(order, step)
        assert outcome.failed == []
        done[name], gone[name] = outcome.done, outcome.gone

    def watch() -> None:
        with redis.Redis.from_url(world.url) as client:
            ledger = Ledger(client, world.keys)
            begin.wait()
            while not finished.is_set():
                imbalances.append(ledger.audit().imbalance_samples)

    # The same order, so that both are after the same letter nearly all the time.
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
    assert done["replay"] == gone["purge"]
    assert done["purge"] == gone["replay"]
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


def test_redis_gone_in_the_middle_leaves_every_letter_whole(
    make_redis: Callable[..., RedisServer], tmp_path: Path, capsys: Capture
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

        with pytest.raises(Interrupted) as caught:
            carry_out(selected, DeadLetters(client, world.keys).replay, kill_after_four)
        assert caught.value.outcome.done == 4
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
    assert one_line(err).startswith("etlctl: Redis cannot be asked")


# -- export -------------------------------------------------------------------------------------


def exported(file: Path) -> list[dict[str, Any]]:
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_export_writes_every_letter_whole(world: World, tmp_path: Path) -> None:
    world.refuse(DeadLetter("rejected", "grüße\u2028", "m,t=é\u2028 value=1 1\n".encode(), 1))
    world.refuse(DeadLetter("rejected", "gzip", gzip.compress(LINE.encode() * 2), 2))
    world.refuse(DeadLetter("undecodable", "x", NOT_TEXT, 5), stage="transformer")
    world.refuse(DeadLetter("poison", "x", BATCH.encode(), 3), stage="transformer", query="other")
    file = tmp_path / "letters.jsonl"

    code, out, _ = world.run("export", str(file))

    assert (code, out) == (0, f"4 dead letters (11 samples) written to {file}.\n")
    documents = exported(file)
    for document, letter in zip(documents, world.letters, strict=True):
        for name in (
            *("id", "stage", "reason", "detail", "query", "tier", "kind", "feed", "window_id"),
            *("entry_id", "samples", "at_ms"),
        ):
            assert document[name] == getattr(letter, name)
    assert [document["kind"] for document in documents] == ["select"] * 4
    assert [document["feed"] for document in documents] == ["q@hot"] * 3 + ["other@hot"]
    assert documents[0]["payload"] == "m,t=é\u2028 value=1 1\n"
    assert documents[1]["payload"] == LINE * 2
    assert base64.b64decode(documents[2]["payload_base64"]) == NOT_TEXT
    assert base64.b64decode(documents[3]["payload_base64"]) == BATCH.encode()
    assert world.account().dead_lettered == 8, "nothing changed"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    filtered = tmp_path / "other.jsonl"
    assert world.json("export", str(filtered), "--query", "other") == {
        "file": str(filtered),
        "exported": 1,
        "samples": 3,
        "without_payload": 0,
    }
    assert [document["reason"] for document in exported(filtered)] == ["poison"]


def test_export_of_more_letters_than_a_page(world: World, tmp_path: Path) -> None:
    world.refuse_lines(130)
    assert world.run("export", str(tmp_path / "out"))[0] == 0
    assert [document["id"] for document in exported(tmp_path / "out")] == [
        letter.id for letter in world.letters
    ]


def test_export_replaces_a_file_only_when_told(world: World, tmp_path: Path) -> None:
    world.refuse_lines()
    file = tmp_path / "out"
    file.write_text("precious")
    code, out, err = world.run("export", str(file))
    assert (code, out) == (1, "")
    assert "--force" in one_line(err)
    assert file.read_text() == "precious"
    assert world.run("export", str(file), "--force")[0] == 0
    assert len(exported(file)) == 1


def test_export_does_not_replace_a_file_that_appears_meanwhile(
    world: World, tmp_path: Path
) -> None:
    world.refuse_lines()
    file = tmp_path / "out"

    def appear() -> None:
        file.write_text("somebody else's")

    with pytest.raises(EtlError, match="exists"):
        export(world.client, world.keys, world.letters, file, force=False, progress=appear)
    assert file.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("place", "why"), [("", "is a directory"), ("missing/out", "cannot be written")]
)
def test_export_to_where_nothing_can_be_written(
    world: World, tmp_path: Path, place: str, why: str
) -> None:
    world.refuse_lines()
    code, out, err = world.run("export", str(tmp_path / place))
    assert (code, out) == (1, "")
    assert why in one_line(err)


def test_export_onto_a_full_disk_leaves_no_file(world: World, tmp_path: Path) -> None:
    world.refuse_lines(3)
    limit = (
        "import resource, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "from etlctl.__main__ import main; main(sys.argv[1:])"
    )
    folder = tmp_path / "small"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", limit, "dead-letters", "export", str(folder / "out")],
        env={**os.environ, "ETL_CONFIG": str(world.config())},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 1
    assert "cannot be written: File too large" in one_line(ran.stderr)
    assert list(folder.iterdir()) == []


def test_export_says_when_a_letter_went_away_meanwhile(world: World, tmp_path: Path) -> None:
    world.refuse_lines(2)
    selected = world.letters
    DeadLetters(world.client, world.keys).purge(selected[1])
    with pytest.raises(EtlError, match="replayed or purged meanwhile"):
        export(world.client, world.keys, selected, tmp_path / "out", force=False)
    assert list(tmp_path.iterdir()) == []


def test_export_keeps_what_is_left_of_a_letter_without_payload(
    world: World, tmp_path: Path
) -> None:
    world.refuse_lines(2)
    world.client.delete(world.letters[0].payload_key)
    code, _, err = world.run("export", str(tmp_path / "out"))
    assert code == 0
    assert err == "note: 1 of the letters have lost their payload\n"
    assert [document["payload"] for document in exported(tmp_path / "out")] == [None, LINE]


def test_a_letter_that_names_a_foreign_key_does_not_show_it(world: World, tmp_path: Path) -> None:
    world.client.set("somebody:secret", "secret")
    world.client.xadd(world.keys.dead, {"stage": "loader", "payload": "somebody:secret"})
    world.run("export", str(tmp_path / "out"))
    assert "secret" not in (tmp_path / "out").read_text()
    assert "secret" not in world.run("show", world.letters[0].id)[1]
