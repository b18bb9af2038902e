"""``etlctl top`` on a terminal: it starts, shows, ends, and leaves the terminal as it was."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.state.keys import Keys
from common.state.status.findings import SERVICES
from common.state.workers import Workers
from devtools import PROJECT_ROOT
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until

WAIT_SECONDS = 90.0
NAMESPACE = "top"
OTHER_SCREEN, SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """80 columns and 40 lines, the command on them, and what it has written."""

    def __init__(self, config: Path, *options: str) -> None:
        self.leader, self.follower = pty.openpty()
        termios.tcsetwinsize(self.follower, (40, 80))
        self.before = termios.tcgetattr(self.follower)
        self._written = b""
        environ = {name: text for name, text in os.environ.items() if not name.startswith("ETL")}
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etlctl", "top", "--config", str(config), *options],
            cwd=PROJECT_ROOT,
            env=environ | {"TERM": "xterm-256color"},
            stdin=self.follower,
            stdout=self.follower,
            stderr=self.follower,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.leader, 65_536):
                self._written += data
        except OSError:
            return

    @property
    def text(self) -> str:
        return self._written.decode(errors="replace")

    def until(self, words: str, after: int = 0) -> int:
        """How much was written when the words had been."""
        wait_until(
            lambda: words in self.text[after:], deadline_seconds=WAIT_SECONDS, what=repr(words)
        )
        return len(self.text)

    def press(self, keys: str) -> None:
        os.write(self.leader, keys.encode())

    def ended(self) -> int:
        code = self.process.wait(WAIT_SECONDS)
        self.until(SCREEN)
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.follower) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_SECONDS)
        os.close(self.follower)
        self._reader.join(WAIT_SECONDS)
        os.close(self.leader)


Starts = Callable[..., Terminal]


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis with a pipeline that is well."""
    made = make_redis()
    report(made)
    return made


def report(server: RedisServer) -> None:
    with server.client() as client:
        for service in SERVICES:
            Workers(client, Keys(NAMESPACE)).report(f"{service}-1", service, True, {})


@pytest.fixture
def start(server: RedisServer, tmp_path: Path) -> Iterator[Starts]:
    file = tmp_path / "etl.yaml"
    document: dict[str, Any] = {
        "extract": {"prometheus_url": "http://127.0.0.1:9"},
        "load": {"influxdb": {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b"}},
        "pipeline": {"redis_url": server.plain_url, "redis_namespace": NAMESPACE},
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    started: list[Terminal] = []

    def begin(*options: str) -> Terminal:
        started.append(Terminal(file, *options))
        return started[-1]

    yield begin
    for one in started:
        one.close()


def test_it_shows_and_q_ends_it(start: Starts) -> None:
    terminal = start("--interval", "0.2")
    terminal.until("All is well")
    terminal.until("extractor")
    assert OTHER_SCREEN in terminal.text
    assert not terminal.is_as_before()
    terminal.press("xq")
    assert terminal.ended() == 0
    assert terminal.is_as_before()
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    start: Starts, number: int, code: int
) -> None:
    terminal = start()
    terminal.until("All is well")
    terminal.process.send_signal(number)
    assert terminal.ended() == code
    assert terminal.is_as_before()
    assert "Traceback" not in terminal.text


def test_it_goes_on_when_redis_comes_and_goes(start: Starts, server: RedisServer) -> None:
    terminal = start("--interval", "0.2")
    written = terminal.until("All is well")
    server.kill()
    written = terminal.until("cannot be told: Redis cannot be reached", written)
    server.start()
    report(server)
    terminal.until("All is well", written)
    terminal.press("q")
    assert terminal.ended() == 0


def test_a_new_size_is_filled(start: Starts) -> None:
    terminal = start()
    written = terminal.until("All is well")
    termios.tcsetwinsize(terminal.follower, (10, 40))
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.until("q or Ctrl-C", written)
    terminal.press("q")
    assert terminal.ended() == 0


def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(
        "extract: {prometheus_url: 'http://127.0.0.1:9'}\n"
        "load: {influxdb: {url: 'http://127.0.0.1:9', org: o, bucket: b}}\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "etlctl", "top", "--config", str(file)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == "etlctl: top needs a terminal; `etlctl status --watch 2` does not\n"


@pytest.mark.parametrize("seconds", ["0", "nan", "x"])
def test_an_interval_that_cannot_be_waited_for(start: Starts, seconds: str) -> None:
    terminal = start("--interval", seconds)
    assert terminal.process.wait(WAIT_SECONDS) == 2
    terminal.until("--interval")
    assert OTHER_SCREEN not in terminal.text
