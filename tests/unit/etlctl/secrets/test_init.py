"""``etlctl secrets init``: made private, and never overwritten."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

import bcrypt
import pytest
import yaml

from etlctl.secrets import fill
from etlctl.secrets.check import ALL_FILES, problems
from etlctl.secrets.fill import ALPHABET, LENGTH, new_password
from etlctl.secrets.folder import open_folder
from etlctl.secrets.table import PASSWORD_OF
from tests.support.secret_folders import Capture, contents, mode, run

PLAIN_FILES = {*PASSWORD_OF, "prometheus_web.yml", "prometheus_client.yml"}


def test_init_makes_everything_private_and_says_nothing_of_it(
    capsys: Capture, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    code, out, err = run(capsys, "secrets", "init", "--dir", str(folder))
    assert (code, err) == (0, "")
    made = contents(folder)
    assert made.keys() == PLAIN_FILES
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert out.splitlines() == [f"{folder / name}: made" for name in ALL_FILES if name in made]
    for name in PASSWORD_OF:
        assert re.fullmatch(r"[A-Za-z0-9]{32,72}", made[name].decode())
        assert made[name].decode() not in out
    assert len({made[name] for name in PASSWORD_OF}) == len(PASSWORD_OF)


def test_init_again_touches_nothing(capsys: Capture, folder: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    code, out, _ = run(capsys, "secrets", "init", "--dir", str(folder), "--tls")
    assert code == 0
    assert {line.rsplit(": ", 1)[1] for line in out.splitlines()} == {"kept"}
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert after == before


def test_init_makes_only_what_is_missing(capsys: Capture, folder: Path) -> None:
    before = contents(folder)
    (folder / "redis_loader_password").unlink()
    code, out, _ = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 0
    assert f"{folder}/redis_loader_password: made\n" in out
    after = contents(folder)
    assert after.pop("redis_loader_password") != before.pop("redis_loader_password")
    assert after == before


def test_a_password_of_ones_own_is_kept_and_its_hash_follows(capsys: Capture, folder: Path) -> None:
    (folder / "prometheus_admin_password").write_text("of my own\n", encoding="utf-8")
    code, out, _ = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 0
    assert f"{folder}/prometheus_admin_password: kept" in out
    assert f"{folder}/prometheus_web.yml: made anew" in out
    assert (folder / "prometheus_admin_password").read_text(encoding="utf-8") == "of my own\n"
    users = yaml.safe_load((folder / "prometheus_web.yml").read_bytes())["basic_auth_users"]
    assert bcrypt.checkpw(b"of my own", users["admin"].encode())


def test_the_directory_is_closed_to_others(capsys: Capture, folder: Path) -> None:
    folder.chmod(0o755)
    code, out, _ = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 0
    assert f"{folder}: closed to others" in out
    assert mode(folder) == 0o700


def test_a_secret_that_others_can_read_is_an_error(capsys: Capture, folder: Path) -> None:
    (folder / "redis_loader_password").chmod(0o644)
    (folder / "metrics_password").chmod(0o640)
    code, _, err = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 2
    first, second = err.splitlines()
    assert f"{folder}/redis_loader_password: is open to others (mode 0644)" in first
    assert f"{folder}/metrics_password: is open to others (mode 0640)" in second
    assert (
        mode(folder / "redis_loader_password") == 0o644
    )  # whoever read it knows it: a person decides


def test_the_default_directory_is_secrets_here_or_what_the_environment_names(
    capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRETS_DIR", raising=False)
    monkeypatch.chdir(folder.parent)
    assert run(capsys, "secrets", "check") == (
        0,
        "",
        f"secrets: {len(ALL_FILES)} files, all as they should be\n",
    )
    monkeypatch.chdir("/")
    monkeypatch.setenv("SECRETS_DIR", str(folder))
    assert run(capsys, "secrets", "check")[0] == 0


def test_two_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    reported: list[tuple[str, str]] = []

    def report(name: str, what: str) -> None:
        reported.append((name, what))

    def fill_it() -> None:
        with open_folder(path, create=True) as folder:
            fill.fill(folder, report, with_tls=False)

    threads = [threading.Thread(target=fill_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reported) == sorted(
        (name, what) for name in PLAIN_FILES for what in ("made", "kept")
    )
    with open_folder(path) as folder:
        assert problems(folder) == []


def test_what_a_killed_run_left_is_swept(capsys: Capture, folder: Path) -> None:
    (folder / ".redis_loader_password.0123456789abcdef.part").write_text("half", encoding="utf-8")
    assert run(capsys, "secrets", "init", "--dir", str(folder))[0] == 0
    assert contents(folder).keys() == set(ALL_FILES)


def _make_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _make_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: folder.chmod(0o777), "can be written by others (mode 0777)"),
        (lambda folder: folder.chmod(0o770), "can be written by others (mode 0770)"),
        (_make_link, "is a symbolic link"),
        (_make_file, "cannot be opened"),
    ],
)
@pytest.mark.parametrize("command", ["init", "check", "show"])
def test_an_unsafe_directory_is_refused_in_one_sentence(
    capsys: Capture, folder: Path, spoil: object, why: str, command: str
) -> None:
    assert callable(spoil)
    spoil(folder)
    name = ["redis_loader_password"] if command == "show" else []
    code, out, err = run(capsys, "secrets", command, *name, "--dir", str(folder))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"etlctl: {folder}: {why}")


def test_passwords_come_from_the_given_source() -> None:
    characters = iter("ab" * LENGTH)
    assert new_password(lambda alphabet: next(characters)) == ("ab" * LENGTH)[:LENGTH]
    assert LENGTH >= 32
    assert ALPHABET.isalnum()
