"""Files that are made from other secrets."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest
import yaml

from etlctl.secrets import derived
from etlctl.secrets.derived import BCRYPT_COST as COST
from etlctl.secrets.derived import USERS
from etlctl.secrets.folder import open_folder
from tests.support.secret_folders import Capture, run


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
