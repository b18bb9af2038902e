"""``etlctl secrets``: made private, never overwritten, never shown unasked, rotated whole."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import pytest
import yaml

from common.errors import ConfigError
from etlctl.secrets import derived, fill, tls
from etlctl.secrets.check import problems
from etlctl.secrets.derived import BCRYPT_COST as COST
from etlctl.secrets.derived import USERS
from etlctl.secrets.folder import open_folder
from etlctl.secrets.names import ALL_FILES
from etlctl.secrets.passwords import ALPHABET, LENGTH, new_password
from etlctl.secrets.table import PASSWORD_OF
from tests.support.secret_folders import Capture, contents, mode, run

PLAIN_FILES = {*PASSWORD_OF, "prometheus_web.yml", "prometheus_client.yml"}


@pytest.fixture(scope="module", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derived, "BCRYPT_COST", 4)
        yield


@pytest.fixture(scope="module")
def filled(_cheap_hashes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with everything in it, certificates too; copied by who changes it."""
    folder = tmp_path_factory.mktemp("filled") / "secrets"
    with open_folder(folder, create=True) as opened:
        fill.fill(opened, lambda name, what: None, with_tls=True)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "secrets"
    shutil.copytree(filled, copy)
    return copy


# -- init --------------------------------------------------------------------------------------


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
    (folder / "redis_password").unlink()
    code, out, _ = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 0
    assert f"{folder}/redis_password: made\n" in out
    after = contents(folder)
    assert after.pop("redis_password") != before.pop("redis_password")
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
    (folder / "redis_password").chmod(0o644)
    (folder / "metrics_password").chmod(0o640)
    code, _, err = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 2
    first, second = err.splitlines()
    assert f"{folder}/redis_password: is open to others (mode 0644)" in first
    assert f"{folder}/metrics_password: is open to others (mode 0640)" in second
    assert mode(folder / "redis_password") == 0o644  # whoever read it knows it: a person decides


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
    told: list[tuple[str, str]] = []

    def tell(name: str, what: str) -> None:
        told.append((name, what))

    def fill_it() -> None:
        with open_folder(path, create=True) as folder:
            fill.fill(folder, tell, with_tls=False)

    threads = [threading.Thread(target=fill_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == sorted((name, what) for name in PLAIN_FILES for what in ("made", "kept"))
    with open_folder(path) as folder:
        assert problems(folder) == []


def test_what_a_killed_run_left_is_swept(capsys: Capture, folder: Path) -> None:
    (folder / ".redis_password.0123456789abcdef.part").write_text("half", encoding="utf-8")
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
    name = ["redis_password"] if command == "show" else []
    code, out, err = run(capsys, "secrets", command, *name, "--dir", str(folder))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"etlctl: {folder}: {why}")


def test_passwords_come_from_the_given_source() -> None:
    characters = iter("ab" * LENGTH)
    assert new_password(lambda alphabet: next(characters)) == ("ab" * LENGTH)[:LENGTH]
    assert LENGTH >= 32
    assert ALPHABET.isalnum()


# -- what follows from others ------------------------------------------------------------------


def test_the_web_configuration_holds_a_hash_for_each_user(filled: Path) -> None:
    for file in ("prometheus_web.yml", "prometheus_web_tls.yml"):
        document = yaml.safe_load((filled / file).read_bytes())
        assert document["basic_auth_users"].keys() == {"admin", "readonly"}
        for user, source in USERS.items():
            digest = document["basic_auth_users"][user]
            assert bcrypt.checkpw((filled / source).read_bytes(), digest.encode())
        assert ("tls_server_config" in document) == (file == "prometheus_web_tls.yml")


def test_a_hash_of_another_cost_is_out_of_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COST == 10
    monkeypatch.setattr(derived, "BCRYPT_COST", COST)
    with open_folder(folder, create=True) as opened:
        assert not derived.is_current(derived.WEB, opened)
        opened.replace(derived.WEB.name, derived.render(derived.WEB, opened))
        assert derived.is_current(derived.WEB, opened)
    users = yaml.safe_load((folder / "prometheus_web.yml").read_bytes())["basic_auth_users"]
    assert all(digest.startswith("$2b$10$") for digest in users.values())


def test_a_password_that_bcrypt_would_cut_is_refused(capsys: Capture, folder: Path) -> None:
    (folder / "prometheus_admin_password").write_text("x" * 73, encoding="utf-8")
    code, _, err = run(capsys, "secrets", "init", "--dir", str(folder))
    assert code == 2
    assert f"{folder}/prometheus_admin_password: is longer than 72 bytes" in err


# -- rotate ------------------------------------------------------------------------------------


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
    if password.told_by:
        assert steps[-1] == f"  {password.told_by}"
    assert run(capsys, "secrets", "check", "--dir", str(folder))[0] == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("influxdb_admin_token", "only the server makes a new one"),
        ("prometheus_web.yml", "follows from prometheus_admin_password and"),
        ("redis_pasword", "there is no such secret: do you mean redis_password?"),
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
    (folder / "redis_password").chmod(0o644)
    assert run(capsys, "secrets", "rotate", "redis_password", "--dir", str(folder))[0] == 0
    assert mode(folder / "redis_password") == 0o600


def test_a_missing_secret_is_not_rotated(capsys: Capture, folder: Path) -> None:
    (folder / "redis_password").unlink()
    code, _, err = run(capsys, "secrets", "rotate", "redis_password", "--dir", str(folder))
    assert code == 2
    assert "is missing: make it with `etlctl secrets init`" in err


# -- show --------------------------------------------------------------------------------------


def test_show_prints_the_value_and_only_that(capsys: Capture, folder: Path) -> None:
    value = (folder / "redis_password").read_text(encoding="utf-8")
    assert run(capsys, "secrets", "show", "redis_password", "--dir", str(folder)) == (
        0,
        f"{value}\n",
        "",
    )


def test_show_follows_no_link_and_no_path(capsys: Capture, folder: Path) -> None:
    (folder / "redis_password").unlink()
    (folder / "redis_password").symlink_to("/etc/hostname")
    code, out, err = run(capsys, "secrets", "show", "redis_password", "--dir", str(folder))
    assert (code, out) == (2, "")
    assert "is a symbolic link" in err
    assert run(capsys, "secrets", "show", "../x", "--dir", str(folder))[0] == 2


# -- check -------------------------------------------------------------------------------------


def test_check_has_one_line_for_everything_that_is_wrong(capsys: Capture, folder: Path) -> None:
    (folder / "redis_password").unlink()
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
        "/redis_password: is missing",
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


def test_an_owner_who_is_somebody_else_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ConfigError, match=r"belongs to uid \d+, and you are uid \d+"):
        open_folder(folder).__enter__()


# -- certificates ------------------------------------------------------------------------------


def test_certificates_that_expire_are_told_in_time(folder: Path) -> None:
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
        (lambda f: (f / "tls_redis.crt").write_text("x"), "tls_redis.crt: is no certificate"),
        (lambda f: (f / "tls_redis.key").write_text("x"), "tls_redis.key: is no key of ours"),
    ],
)
def test_certificates_that_do_not_fit_are_told(folder: Path, spoil: object, why: str) -> None:
    assert callable(spoil)
    spoil(folder)
    with open_folder(folder) as opened:
        found = problems(opened)
    assert len(found) == 1
    assert found[0].startswith(f"{folder}/{why}")


def test_another_authority_is_noticed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with open_folder(other, create=True) as opened:
        list(tls.complete(opened, tls.utc_now))
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
