"""``etlctl secrets rotate`` and ``show``: renewed whole, never shown unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from etlctl.secrets.derived import USERS
from etlctl.secrets.table import PASSWORD_OF
from tests.support.secret_folders import Capture, contents, mode, run


@pytest.mark.parametrize(
    "name", [name for name, password in PASSWORD_OF.items() if not password.made_by_server]
)
def test_rotate_renews_the_secret_and_what_follows_and_nothing_else(
    capsys: Capture, folder: Path, name: str
) -> None:
    before = contents(folder)
    code, out, err = run(capsys, "secrets", "rotate", name, "--dir", str(folder))
    assert (code, err) == (0, "")
    after = contents(folder)
    hashes = {"prometheus_web.yml", "prometheus_web_tls.yml"}
    changed = {file for file in after if after[file] != before[file]}
    assert changed == {name} | (hashes if name in USERS.values() else set())
    assert mode(folder / name) == 0o600
    assert after[name].decode() not in out
    password = PASSWORD_OF[name]
    lines = out.splitlines()
    steps = lines[lines.index("Then, where the stack runs:") + 1 :]
    assert steps[0] == "  docker compose run --rm --no-deps secrets"
    if password.restart:
        assert steps[-1] == f"  docker compose restart {' '.join(password.restart)}"
    if password.server_command:
        assert steps[-1] == f"  {password.server_command}"
    assert run(capsys, "secrets", "check", "--dir", str(folder))[0] == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("influxdb_admin_token", "only the server makes a new one"),
        ("prometheus_web.yml", "follows from prometheus_admin_password and"),
        ("redis_loader_pasword", "there is no such secret: do you mean redis_loader_password?"),
        ("../etc/passwd", "there is no such secret"),
    ],
)
def test_what_cannot_be_rotated(capsys: Capture, folder: Path, name: str, why: str) -> None:
    before = contents(folder)
    code, out, err = run(capsys, "secrets", "rotate", name, "--dir", str(folder))
    assert (code, out) == (2, "")
    assert err.startswith(f"etlctl: {name}: {why}")
    assert len(err.splitlines()) == 1
    assert contents(folder) == before


def test_an_exposed_secret_is_closed_by_rotating_it(capsys: Capture, folder: Path) -> None:
    (folder / "redis_loader_password").chmod(0o644)
    assert run(capsys, "secrets", "rotate", "redis_loader_password", "--dir", str(folder))[0] == 0
    assert mode(folder / "redis_loader_password") == 0o600


def test_a_missing_secret_is_not_rotated(capsys: Capture, folder: Path) -> None:
    (folder / "redis_loader_password").unlink()
    code, _, err = run(capsys, "secrets", "rotate", "redis_loader_password", "--dir", str(folder))
    assert code == 2
    assert "is missing: make it with `etlctl secrets init`" in err


def test_show_prints_the_value_and_only_that(capsys: Capture, folder: Path) -> None:
    value = (folder / "redis_loader_password").read_text(encoding="utf-8")
    assert run(capsys, "secrets", "show", "redis_loader_password", "--dir", str(folder)) == (
        0,
        f"{value}\n",
        "",
    )


def test_show_says_what_makes_a_file_of_tls(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    assert run(capsys, "secrets", "init", "--dir", str(folder))[0] == 0
    for name in ("tls_ca.crt", "prometheus_web_tls.yml"):
        code, out, err = run(capsys, "secrets", "show", name, "--dir", str(folder))
        assert (code, out) == (2, "")
        assert err == (
            f"etlctl: {folder / name}: is missing: make it with `etlctl secrets init --tls`\n"
        )


def test_show_follows_no_link_and_no_path(capsys: Capture, folder: Path) -> None:
    (folder / "redis_loader_password").unlink()
    (folder / "redis_loader_password").symlink_to("/etc/hostname")
    code, out, err = run(capsys, "secrets", "show", "redis_loader_password", "--dir", str(folder))
    assert (code, out) == (2, "")
    assert "is a symbolic link" in err
    assert run(capsys, "secrets", "show", "../x", "--dir", str(folder))[0] == 2
