"""``etlctl dead-letters export``: every dead letter whole, or no file."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import EtlError
from common.state.dead_letters.kept import DeadLetters
from common.state.verdict import DeadLetter
from devtools import PROJECT_ROOT
from etlctl.dead_letters.export import export
from tests.integration.etlctl.dead_letters.world import BATCH, LINE, NOT_TEXT, World, one_line


def exported(file: Path) -> list[dict[str, Any]]:
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_export_writes_every_dead_letter_whole(world: World, tmp_path: Path) -> None:
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


def test_export_of_more_dead_letters_than_a_page(world: World, tmp_path: Path) -> None:
    world.refuse_lines(130)
    assert world.run("export", str(tmp_path / "out"))[0] == 0
    assert [document["id"] for document in exported(tmp_path / "out")] == [
        letter.id for letter in world.letters
    ]


def test_export_replaces_a_file_only_with_force(world: World, tmp_path: Path) -> None:
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


def test_export_fails_when_a_dead_letter_is_purged_meanwhile(world: World, tmp_path: Path) -> None:
    world.refuse_lines(2)
    selected = world.letters
    DeadLetters(world.client, world.keys).purge(selected[1])
    with pytest.raises(EtlError, match="replayed or purged meanwhile"):
        export(world.client, world.keys, selected, tmp_path / "out", force=False)
    assert list(tmp_path.iterdir()) == []


def test_export_keeps_what_is_left_of_a_dead_letter_without_payload(
    world: World, tmp_path: Path
) -> None:
    world.refuse_lines(2)
    world.client.delete(world.letters[0].payload_key)
    code, _, err = world.run("export", str(tmp_path / "out"))
    assert code == 0
    assert err == "note: 1 of the dead letters have lost their payload\n"
    assert [document["payload"] for document in exported(tmp_path / "out")] == [None, LINE]


def test_a_dead_letter_that_names_a_foreign_key_hides_it(world: World, tmp_path: Path) -> None:
    world.client.set("somebody:secret", "secret")
    world.client.xadd(world.keys.dead, {"stage": "loader", "payload": "somebody:secret"})
    world.run("export", str(tmp_path / "out"))
    assert "secret" not in (tmp_path / "out").read_text()
    assert "secret" not in world.run("show", world.letters[0].id)[1]
