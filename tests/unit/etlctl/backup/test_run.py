"""The order of parts, and that nothing is touched before all is known to be well."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from common.errors import EtlError
from common.exit_codes import ExitCode
from etlctl.backup.folder import MANIFEST
from etlctl.backup.parts import Saved, Skipped
from etlctl.backup.run import Outcome, restore, save
from tests.support.secret_folders import Capture, run
from tests.support.settings_files import MINIMAL


class Fake:
    """A part that notes what is asked of it; ``fail`` is raised by the step of its name."""

    def __init__(self, name: str, log: list[str], **fail: BaseException) -> None:
        self.name, self.log, self.fail = name, log, fail

    def _step(self, step: str) -> None:
        self.log.append(f"{step} {self.name}")
        if step in self.fail:
            raise self.fail[step]

    def save(self, folder: Path, moved: Callable[[int], None]) -> Saved:
        (folder / "data").write_text(self.name)
        moved(1)
        self._step("save")
        return Saved("a file", {"of": self.name})

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        assert known == {"of": self.name}
        self._step("check")

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Callable[[int], None]) -> str:
        assert (folder / "data").read_text() == self.name
        self._step("restore")
        return "back"


def saved(target: Path, *parts: Fake) -> Outcome:
    return save(target, "etl", parts, Progress(disable=True), lambda _: None)


def restored(source: Path, *parts: Fake) -> Outcome:
    return restore(source, "etl", parts, Progress(disable=True), lambda _: None)


def test_what_is_saved_first_is_restored_last_and_everything_is_checked_before(
    tmp_path: Path,
) -> None:
    log: list[str] = []
    parts = [Fake("redis", log), Fake("influxdb", log)]
    assert set(saved(tmp_path / "b", *parts).done) == {"redis", "influxdb"}
    restored(tmp_path / "b", *parts)
    assert log == [
        *("save redis", "save influxdb", "check redis", "check influxdb"),
        *("restore influxdb", "restore redis"),
    ]


def test_a_part_that_is_skipped_keeps_nothing_back(tmp_path: Path) -> None:
    log: list[str] = []
    redis, skipped = Fake("redis", log), Fake("grafana", log, save=Skipped("no folder"))
    outcome = saved(tmp_path / "b", redis, skipped)
    assert outcome.skipped == {"grafana": "no folder"}
    assert not (tmp_path / "b" / "grafana").exists()
    assert restored(tmp_path / "b", redis, Fake("grafana", log)).skipped == {
        "grafana": "it is not in the backup"
    }
    with pytest.raises(EtlError, match="every part was skipped"):
        saved(tmp_path / "c", skipped)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("error", [EtlError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_part_that_fails_leaves_no_backup(tmp_path: Path, error: BaseException) -> None:
    log: list[str] = []
    with pytest.raises((EtlError, KeyboardInterrupt)):
        saved(tmp_path / "b", Fake("redis", log), Fake("influxdb", log, save=error))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_restored_of_what_was_altered_or_where_one_target_is_used(
    tmp_path: Path,
) -> None:
    log: list[str] = []
    parts = [Fake("redis", log), Fake("influxdb", log)]
    saved(tmp_path / "b", *parts)
    log.clear()
    with pytest.raises(EtlError, match="not empty"):
        restored(tmp_path / "b", Fake("redis", log, check=EtlError("not empty")), parts[1])
    assert log == ["check redis"]
    (tmp_path / "b" / "influxdb" / "data").write_text("other")
    log.clear()
    with pytest.raises(EtlError, match="influxdb/data: was altered"):
        restored(tmp_path / "b", *parts)
    assert log == []


def test_a_disk_that_is_full_during_a_restore_is_one_sentence(tmp_path: Path) -> None:
    log: list[str] = []
    saved(tmp_path / "b", Fake("redis", log))
    full = Fake("redis", log, restore=OSError(28, "No space left on device", "/x/grafana.db"))
    with pytest.raises(EtlError, match=r"redis: cannot be restored: No space left .*grafana\.db"):
        restored(tmp_path / "b", full)


def test_the_manifest_says_when_and_what(tmp_path: Path) -> None:
    saved(tmp_path / "b", Fake("redis", []))
    document = json.loads((tmp_path / "b" / MANIFEST).read_text())
    assert document["namespace"] == "etl"
    assert document["parts"] == {"redis": {"of": "redis"}}
    assert document["created_at"].endswith("Z")


def test_a_part_that_there_is_not_is_refused(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text(MINIMAL, encoding="utf-8")
    code, _, err = run(
        capsys, "backup", str(tmp_path / "b"), "--without", "grafanna", "--config", str(config)
    )
    assert code == ExitCode.CONFIG
    assert "--without grafanna: is not one of redis, influxdb, prometheus, grafana" in err
    assert not (tmp_path / "b").exists()


def test_a_redis_that_is_away_leaves_no_backup(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text(
        f"{MINIMAL}pipeline: {{redis_url: 'unix://{tmp_path}/none'}}\n", encoding="utf-8"
    )
    code, _, err = run(capsys, "backup", str(tmp_path / "b"), "--config", str(config))
    assert code == ExitCode.DEPENDENCY
    assert "Redis cannot be reached" in err
    assert {one.name for one in tmp_path.iterdir()} == {"etl.yaml"}
