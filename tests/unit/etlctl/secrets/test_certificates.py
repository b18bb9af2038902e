"""Certificates: renewed with what they depend on, and reported in time."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etlctl.secrets import tls
from etlctl.secrets.check import problems
from etlctl.secrets.folder import open_folder
from tests.support.secret_folders import Capture, contents, run


def test_certificates_that_expire_are_reported_in_time(folder: Path) -> None:
    def found(days: int) -> list[str]:
        with open_folder(folder) as opened:
            return problems(opened, now=lambda: datetime.now(UTC) + timedelta(days=days))

    assert found(300) == []
    soon = found(tls.SERVER_DAYS - 10)
    assert len(soon) == len(tls.SERVERS)
    assert all(re.search(r"expires in \d+ days: run `etlctl secrets rotate tls_", s) for s in soon)
    late = found(tls.SERVER_DAYS + 10)
    assert len(late) == len(tls.SERVERS)
    assert all("has expired" in sentence for sentence in late)


@pytest.mark.parametrize(
    ("name", "renewed"),
    [
        ("tls_redis", ["tls_redis"]),
        ("tls", list(tls.SERVERS)),
        ("tls_ca", list(tls.NAMES)),
    ],
)
def test_rotating_certificates(
    capsys: Capture, folder: Path, name: str, renewed: list[str]
) -> None:
    before = contents(folder)
    code, out, _ = run(capsys, "secrets", "rotate", name, "--dir", str(folder))
    assert code == 0
    after = contents(folder)
    changed = {file for file in after if after[file] != before[file]}
    assert changed == {f"{each}.{end}" for each in renewed for end in ("key", "crt")}
    restarted = [] if name == "tls_ca" else [tls.SERVERS[each] for each in renewed]
    assert out.endswith(" ".join(["  docker compose restart", *restarted]) + "\n")
    assert run(capsys, "secrets", "check", "--dir", str(folder))[0] == 0


def test_a_key_without_certificate_gets_one_and_a_certificate_without_key_is_an_error(
    capsys: Capture, folder: Path
) -> None:
    key = (folder / "tls_redis.key").read_bytes()
    (folder / "tls_redis.crt").unlink()
    assert run(capsys, "secrets", "init", "--dir", str(folder), "--tls")[0] == 0
    assert (folder / "tls_redis.key").read_bytes() == key
    assert run(capsys, "secrets", "check", "--dir", str(folder))[0] == 0
    (folder / "tls_redis.key").unlink()
    code, _, err = run(capsys, "secrets", "init", "--dir", str(folder), "--tls")
    assert code == 2
    assert "tls_redis.key: is missing, and its certificate is there" in err


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            lambda f: shutil.copy(f / "tls_grafana.key", f / "tls_redis.key"),
            "tls_redis.crt: belongs to another key",
        ),
        (
            lambda f: [
                shutil.copy(f / f"tls_grafana.{e}", f / f"tls_redis.{e}") for e in ("key", "crt")
            ],
            "tls_redis.crt: is for other names than redis, localhost",
        ),
        (lambda f: (f / "tls_redis.crt").write_text("x"), "tls_redis.crt: is not a certificate"),
        (
            lambda f: (f / "tls_redis.key").write_text("x"),
            "tls_redis.key: is not an EC private key",
        ),
    ],
)
def test_certificates_that_do_not_fit_are_reported(folder: Path, spoil: object, why: str) -> None:
    assert callable(spoil)
    spoil(folder)
    with open_folder(folder) as opened:
        found = problems(opened)
    assert len(found) == 1
    assert found[0].startswith(f"{folder}/{why}")


def test_another_authority_is_noticed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with open_folder(other, create=True) as opened:
        list(tls.complete(opened))
    for end in ("key", "crt"):
        shutil.copy(other / f"tls_ca.{end}", folder / f"tls_ca.{end}")
    with open_folder(folder) as opened:
        found = problems(opened)
    assert len(found) == len(tls.SERVERS)
    assert all("is not from the authority in tls_ca.crt" in sentence for sentence in found)


def test_there_are_no_certificates_to_rotate(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert run(capsys, "secrets", "init", "--dir", str(folder))[0] == 0
    code, _, err = run(capsys, "secrets", "rotate", "tls", "--dir", str(folder))
    assert code == 2
    assert "there are no certificates: make them with `etlctl secrets init --tls`" in err
