"""Which redis-server the tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import StackError
from devtools.servers.binaries import Toolbox
from devtools.servers.redis_server import PROGRAM_VARIABLE, RedisServer, server_program


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    """One that finds a redis-server in its search path."""
    folder = tmp_path / "found"
    program(folder / "redis-server")
    program(folder / "redis-cli")
    return Toolbox(tmp_path / "tools", search_path=str(folder), system_folders=False)


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_one_that_is_found_unless_the_environment_names_another(
    toolbox: Toolbox, tmp_path: Path
) -> None:
    named = program(tmp_path / "valkey-server")

    assert server_program(toolbox, {}).path == tmp_path / "found" / "redis-server"
    assert server_program(toolbox, {PROGRAM_VARIABLE: ""}).path.name == "redis-server"
    assert server_program(toolbox, {PROGRAM_VARIABLE: str(named)}).path == named


def test_what_is_no_program_is_one_clear_error(toolbox: Toolbox, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for wrong in (str(plain), str(tmp_path), str(tmp_path / "missing"), "redis-server"):
        with pytest.raises(StackError, match=f"{PROGRAM_VARIABLE}: {wrong} is no"):
            server_program(toolbox, {PROGRAM_VARIABLE: wrong})


@pytest.mark.parametrize("name", ["redis", "valkey"])
def test_its_own_repair_lies_beside_it(
    toolbox: Toolbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, str(program(tmp_path / f"{name}-server")))
    server = RedisServer(toolbox, tmp_path / "work")

    assert next(iter(server.command())) == str(tmp_path / f"{name}-server")
    assert server.check_aof == tmp_path / f"{name}-check-aof"
