"""``etlctl secrets check``: one line for everything that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import ConfigError
from etlctl.secrets.check import problems
from etlctl.secrets.folder import open_folder
from tests.support.secret_folders import Capture, run


def test_check_has_one_line_for_everything_that_is_wrong(capsys: Capture, folder: Path) -> None:
    (folder / "redis_loader_password").unlink()
    (folder / "metrics_password").write_text("", encoding="utf-8")
    (folder / "simulator_password").chmod(0o604)
    (folder / "grafana_admin_password").write_text("two\nlines", encoding="utf-8")
    (folder / "influxdb_admin_token").unlink()
    (folder / "influxdb_admin_token").symlink_to("metrics_password")
    (folder / "prometheus_admin_password").write_text("changed", encoding="utf-8")
    (folder / "prometheus_client.yml").write_text("basic_auth: {", encoding="utf-8")
    folder.chmod(0o750)
    code, out, err = run(capsys, "secrets", "check", "--dir", str(folder))
    assert (code, out) == (2, "")
    lines = [line.removeprefix(f"etlctl: {folder}") for line in err.splitlines()]
    expected = [
        ": is open to others",
        "/redis_loader_password: is missing",
        "/influxdb_admin_token: is a symbolic link",
        "/simulator_password: is open to others (mode 0604)",
        "/grafana_admin_password: holds line breaks",
        "/metrics_password: is empty",
        "/prometheus_web.yml: is out of date",
        "/prometheus_client.yml: is out of date",
        "/prometheus_web_tls.yml: is out of date",
    ]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


def test_check_without_a_directory(capsys: Capture, tmp_path: Path) -> None:
    code, _, err = run(capsys, "secrets", "check", "--dir", str(tmp_path / "none"))
    assert code == 2
    assert err == (
        f"etlctl: {tmp_path / 'none'}: is not there: make it with `etlctl secrets init`\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list\n",
        "basic_auth_users: [admin, readonly]\n",
        "basic_auth_users: {admin: x, readonly: y}\n",
        "basic_auth_users: {admin: $2b$10$nonsense, readonly: $2b$10$nonsense}\n",
        "\x80",
    ],
)
def test_a_web_configuration_that_says_something_else_is_out_of_date(
    folder: Path, text: str
) -> None:
    (folder / "prometheus_web.yml").write_bytes(text.encode("latin-1"))
    with open_folder(folder) as opened:
        found = problems(opened)
    assert len(found) == 1
    assert "prometheus_web.yml: is " in found[0]


def test_an_owner_who_is_somebody_else_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ConfigError, match=r"belongs to uid \d+, and you are uid \d+"):
        open_folder(folder).__enter__()


def test_what_other_programs_would_read_otherwise_is_told(capsys: Capture, folder: Path) -> None:
    expected = {}
    for name, before, after, said in (
        ("redis_loader_password", b"", b"\r\n", "ends with a carriage return (CRLF)"),
        ("grafana_admin_password", b"\xef\xbb\xbf", b"", "begins with a byte order mark"),
        ("metrics_password", b"'", b"'", "begins and ends with quotes: write the secret without"),
        ("simulator_password", b" ", b"", "begins or ends with blanks"),
    ):
        path = folder / name
        path.write_bytes(before + path.read_bytes() + after)
        expected[name] = said
    code, _, err = run(capsys, "secrets", "check", "--dir", str(folder))
    found = dict(
        line.removeprefix(f"etlctl: {folder}/").split(": ", 1) for line in err.splitlines()
    )
    assert code == 2
    assert found.keys() == expected.keys()
    assert all(found[name].startswith(said) for name, said in expected.items())
