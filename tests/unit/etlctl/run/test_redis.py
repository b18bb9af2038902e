"""The files of the Redis of ``etlctl run``; it is started in tests/integration/etlctl/run."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from etlctl.run.redis import OwnRedis


def test_files_are_for_us_alone_and_the_port_is_kept(tmp_path: Path) -> None:
    server = tmp_path / "valkey-server"
    server.touch(mode=0o755)
    data = tmp_path / 'a "quoted" folder'
    data.mkdir()
    first = OwnRedis.prepare(data, {"PATH": str(tmp_path)})
    again = OwnRedis.prepare(data, {"PATH": str(tmp_path)})
    assert first == again and first.program == str(server)
    password = first.password_file.read_text(encoding="utf-8").strip()
    text = first.configuration.read_text(encoding="utf-8")
    assert f'requirepass "{password}"\n' in text and "appendonly yes\n" in text
    assert f'dir "{tmp_path}/a \\"quoted\\" folder/redis"\n' in text
    assert password not in first.url
    for file in (first.password_file, first.configuration):
        assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_server_the_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redis-server on Debian and Ubuntu, valkey on Fedora"):
        OwnRedis.prepare(tmp_path, {"PATH": str(tmp_path)})
    assert not list(tmp_path.iterdir())


def test_a_password_file_that_others_emptied_is_said(tmp_path: Path) -> None:
    (tmp_path / "redis-server").touch(mode=0o755)
    (tmp_path / "redis_password").touch(mode=0o600)
    with pytest.raises(ConfigError, match=r"--data: .*redis_password, which is empty"):
        OwnRedis.prepare(tmp_path, {"PATH": str(tmp_path)})


def test_a_file_where_the_folder_of_redis_belongs_is_said(tmp_path: Path) -> None:
    (tmp_path / "redis-server").touch(mode=0o755)
    (tmp_path / "redis").touch()
    with pytest.raises(ConfigError) as caught:
        OwnRedis.prepare(tmp_path, {"PATH": str(tmp_path)})
    assert str(caught.value) == (
        f"--data: {tmp_path}: cannot be used: {tmp_path}/redis: File exists"
    )


def test_a_password_of_ones_own_may_have_any_character(tmp_path: Path) -> None:
    (tmp_path / "redis-server").touch(mode=0o755)
    password_file = tmp_path / "redis_password"
    password_file.touch(mode=0o600)
    password_file.write_text('a "b" \\c\n', encoding="utf-8")
    own = OwnRedis.prepare(tmp_path, {"PATH": str(tmp_path)})
    text = own.configuration.read_text(encoding="utf-8")
    assert 'requirepass "a \\"b\\" \\\\c"\n' in text
