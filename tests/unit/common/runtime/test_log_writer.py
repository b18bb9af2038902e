"""Who logs never waits for who reads the log."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.log_writer import PatientHandler
from common.runtime.logs import JsonFormatter, rotating_file
from devtools.servers.waiting import wait_until

PIPE_BYTES = 4096


class Pipe:
    """A handler that writes to a pipe, which is read when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.reader, False)
        self.handler = PatientHandler(self.writer, max_waiting_bytes=20_000)
        self.handler.setFormatter(JsonFormatter("loader"))
        self._read = b""

    def log(self, message: str) -> None:
        record = logging.LogRecord("x", logging.INFO, "", 0, message, None, None)
        self.handler.handle(record)

    def lines(self, until: str) -> list[dict[str, object]]:
        """Everything that was written, up to a message."""

        def is_there() -> bool:
            try:
                self._read += os.read(self.reader, 65_536)
            except BlockingIOError:
                return False
            return until.encode() in self._read and self._read.endswith(b"\n")

        wait_until(is_there, deadline_seconds=20, what=until)
        return [json.loads(line) for line in self._read.splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)  # ends a write that still waits


def test_lines_arrive_in_their_order(pipe: Pipe) -> None:
    for number in range(20):
        pipe.log(f"number {number}")
    pipe.handler.flush()

    events = [line["event"] for line in pipe.lines("number 19")]

    assert events == [f"number {number}" for number in range(20)]


def test_a_stalled_reader_costs_lines_that_are_counted_and_no_time(pipe: Pipe) -> None:
    for number in range(1000):  # 130 kB, to a pipe and a store of 24 kB
        pipe.log(f"number {number}")

    lines = pipe.lines("log_lines_dropped")

    kept = [line for line in lines if line["event"] != "log_lines_dropped"]
    (report,) = (line for line in lines if line["event"] == "log_lines_dropped")
    assert [line["event"] for line in kept] == [f"number {i}" for i in range(len(kept))]
    assert report["lines"] == 1000 - len(kept)
    assert 19_000 < sum(len(json.dumps(line)) for line in kept) < 20_000 + 2 * PIPE_BYTES
    pipe.log("afterwards")
    assert pipe.lines("afterwards")[-1]["event"] == "afterwards"


def test_a_closed_pipe_is_no_error(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    handler = PatientHandler(writer)
    os.close(reader)
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "lost", None, None))
    handler.flush()
    assert not handler._waiting
    assert capfd.readouterr().err == ""


def test_a_log_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        handler = rotating_file("loader", str(tmp_path / "etl.log"), 100, 2)
        for _ in range(5):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "y" * 80, None, None))
        handler.close()
    finally:
        os.umask(mask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("etl.log", "etl.log.1", "etl.log.2"), 0o640)
