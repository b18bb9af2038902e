"""What ``etlctl run`` refuses before anything is started, each in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from common.exit_codes import ExitCode
from etlctl.run.folder import locked
from etlctl.run.ports import HOST
from tests.integration.etlctl.run.rig import Run, environment, etlctl, write_config


def config_without_servers(folder: Path) -> Path:
    return write_config(folder / "etl.yaml", "http://127.0.0.1:9", "http://127.0.0.1:9", "b")


def test_a_port_in_use(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        run = make_run(config_without_servers(tmp_path), "--port", str(port))
        assert run.ends() == ExitCode.CONFIG
    assert f"etlctl: port {port} on {HOST}, for the extractor, is in use" in run.output
    assert all(line.startswith("etlctl: port ") for line in run.output.splitlines())


def test_two_runs_on_one_folder(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    config = config_without_servers(tmp_path)
    with locked(tmp_path / "etl-data"):
        run = make_run(config)
        assert run.ends() == ExitCode.CONFIG
    assert run.output == (
        f"etlctl: --data: {tmp_path}/etl-data: another etlctl run (process {os.getpid()}) has this "
        "folder: stop it, or name another folder"
    )


def test_no_redis_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = etlctl(
        environment(str(tmp_path / "empty")),
        *("run", "--config", str(config_without_servers(tmp_path))),
    )
    assert ran.returncode == ExitCode.CONFIG
    assert "neither redis-server nor valkey-server is on PATH: install one" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text("extract: {prometheus_url: soon}\n", encoding="utf-8")
    ran = etlctl(environment(os.environ["PATH"]), "run", "--config", str(file))
    assert ran.returncode == ExitCode.CONFIG
    assert ran.stderr.startswith(f"etlctl: {file}")
    assert not (tmp_path / "etl-data").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = etlctl(
        environment(os.environ["PATH"]),
        *("run", "--config", str(config_without_servers(tmp_path))),
        *("--data", str(tmp_path / "file" / "below")),
    )
    assert ran.returncode == ExitCode.CONFIG
    assert ran.stderr == (
        f"etlctl: --data: {tmp_path}/file/below: cannot be used: Not a directory\n"
    )
