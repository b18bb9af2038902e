"""Servers are processes that end with us; a failure is quoted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers import processes
from devtools.servers.binaries import Toolbox
from devtools.servers.ports import HOST, free_port
from devtools.servers.processes import Server
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.integration.servers.helpers import ended


class Script(Server):
    """A server that is a line of Python."""

    def __init__(self, work_dir: Path, code: str, port: int | None = None) -> None:
        super().__init__("script", work_dir, port=port)
        self.code = code

    def command(self) -> Sequence[str]:
        return [sys.executable, "-S", "-E", "-c", self.code, str(self.port)]


SLEEP = "import time; print('dozing', flush=True); time.sleep(600)"
LISTEN = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print('up', flush=True); time.sleep(600)"
)


class TestProcesses:
    def test_a_server_that_dies_is_quoted(self, make_redis: Callable[..., RedisServer]) -> None:
        with pytest.raises(StackError) as caught:
            make_redis(settings={"maxmemory": "plenty"})
        message = str(caught.value)
        assert "ended with exit code 1 before it was ready" in message
        assert "argument must be a memory value" in message
        assert ".log" in message

    def test_a_program_that_cannot_run_is_told(self, tmp_path: Path) -> None:
        class Missing(Script):
            def command(self) -> Sequence[str]:
                return [str(tmp_path / "nothing")]

        with pytest.raises(StackError, match=r"cannot execute .*nothing: No such file"):
            Missing(tmp_path, "").start()

    def test_a_server_that_never_listens_is_told_and_killed(self, tmp_path: Path) -> None:
        server = Script(tmp_path, SLEEP)
        # Long enough for an interpreter to start and write its line on a busy machine.
        server.ready_seconds = 2
        with pytest.raises(StackError, match=r"not ready within 2 s \(listening\).*\ndozing"):
            server.start()
        assert server.exit_code == -signal.SIGKILL

    def test_a_stranger_on_the_port_is_not_taken_for_the_server(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as stranger:
            server = Script(tmp_path, SLEEP, port=stranger.getsockname()[1])
            server.ready_seconds = 0.3
            with pytest.raises(StackError, match="listening"):
                server.start()

    def test_a_port_that_was_taken_meanwhile_is_replaced(
        self, tmp_path: Path, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server((HOST, 0)) as stranger:
            taken = stranger.getsockname()[1]
            ports = iter([taken])
            monkeypatch.setattr(processes, "free_port", lambda: next(ports, None) or free_port())
            with RedisServer(toolbox, tmp_path) as server, server.client() as client:
                assert server.port != taken
                assert client.ping()

    def test_stop_is_orderly_and_kills_what_does_not_listen(self, tmp_path: Path) -> None:
        obedient = Script(tmp_path / "a", LISTEN).start()
        assert obedient.stop() == -signal.SIGTERM
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LISTEN
        stubborn = Script(tmp_path / "b", deaf).start()
        assert stubborn.stop(deadline_seconds=0.2) == -signal.SIGKILL
        assert ended(obedient.pid)
        assert ended(stubborn.pid)

    def test_sigterm_is_sent_once(self, tmp_path: Path) -> None:
        code = (
            "import signal; signal.signal(signal.SIGTERM, lambda *_: print('term', flush=True));"
            + LISTEN
        )
        server = Script(tmp_path, code).start()
        server.terminate()
        wait_until(lambda: "term" in server.log_tail(), deadline_seconds=10, what="first signal")
        server.stop(deadline_seconds=0.2)
        assert server.log_tail().count("term") == 1

    def test_a_closed_server_stays_closed(self, tmp_path: Path) -> None:
        server = Script(tmp_path, LISTEN).start()
        server.close()
        assert not server.running
        with pytest.raises(StackError, match="was closed"):
            server.start()

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_nothing_outlives_its_parent(self, tmp_path: Path, end: signal.Signals) -> None:
        # Started by a thread that ends long before the parent does.
        # A shell has what it starts in the background ignore SIGINT, and that is inherited.
        code = f"""
import pathlib, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.redis_server import RedisServer
root, toolbox = pathlib.Path({str(tmp_path)!r}), Toolbox()
with RedisServer(toolbox, root / "redis") as redis:
    influx = InfluxServer(toolbox, root / "influx")
    thread = threading.Thread(target=influx.start)
    thread.start(); thread.join()
    print(redis.pid, *(server.pid for server in influx.servers), flush=True)
    time.sleep(600)
"""
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            text=True,
        ) as parent:
            try:
                assert parent.stdout is not None
                pids = [int(word) for word in parent.stdout.readline().split()]
                assert len(pids) == 3
                assert not any(ended(pid) for pid in pids)
                parent.send_signal(end)
                parent.wait(timeout=30)
            finally:
                parent.kill()
        wait_until(
            lambda: all(ended(pid) for pid in pids), deadline_seconds=10, what="end of the servers"
        )

    def test_a_service_gets_only_the_settings_it_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ETL__LOAD__INFLUXDB__URL", "http://elsewhere")
        monkeypatch.setenv("ETL_CONFIG", "/elsewhere")
        service = ServiceProcess("loader", tmp_path, environ={"ETL__PIPELINE__LOG_LEVEL": "DEBUG"})
        ours = {k: v for k, v in service.environment().items() if k.startswith("ETL")}
        assert ours == {
            "ETL__PIPELINE__HTTP_HOST": HOST,
            "ETL__PIPELINE__HTTP_PORT": str(service.port),
            "ETL__PIPELINE__LOG_LEVEL": "DEBUG",
        }


class TestWaiting:
    def test_asks_once_more_after_the_deadline(self) -> None:
        now = iter([0.0, 0.5, 9.0])
        results = iter([None, "at last"])
        assert (
            wait_until(
                lambda: next(results),
                deadline_seconds=1,
                what="it",
                clock=lambda: next(now),
                sleep=lambda _: None,
            )
            == "at last"
        )

    def test_names_what_it_waited_for(self) -> None:
        with pytest.raises(StackError, match="the end of days: not within 0 s"):
            wait_until(lambda: False, deadline_seconds=0, what="the end of days")
