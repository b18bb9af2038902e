"""Writing log lines without waiting for who reads them.

A log reader that stalls (a full pipe, a terminal that was stopped) blocks whoever writes to it. No
thread that works must be that one: lines wait in memory, up to a bound, for a thread that does
nothing but write them. What does not fit is dropped, counted, and reported once there is room.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import TextIO

MAX_WAITING_BYTES = 1 << 20
# How long flushing waits for the reader.
FLUSH_SECONDS = 1.0
DROPPED_EVENT = "log_lines_dropped"


class PatientHandler(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own."""

    def __init__(self, descriptor: int, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._max_waiting_bytes = max_waiting_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, or count it as dropped; never waits."""
        try:
            line = self._line(record)
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            # After the first that was dropped all are, until the thread has caught up: the report
            # stands where the lines are missing.
            if self._dropped or not self._fits(line):
                self._dropped += 1
            else:
                self._put(line)

    def flush(self) -> None:
        """Wait until all is written, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, FLUSH_SECONDS)

    def _fits(self, line: bytes) -> bool:
        # A line of its own always does, or one that is too long would never be written.
        return not self._waiting or self._waiting_bytes + len(line) <= self._max_waiting_bytes

    def _put(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self._changed.notify_all()

    def _report_dropped(self) -> None:
        record = logging.LogRecord("etl", logging.WARNING, "", 0, DROPPED_EVENT, None, None)
        record.fields = {"lines": self._dropped}
        self._dropped = 0
        self._put(self._line(record))

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting[0]
            self._write(line)
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= len(line)
                if self._dropped and not self._waiting:
                    self._report_dropped()
                self._changed.notify_all()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            return  # a closed pipe or a full disk must not end in an error about the log itself


def stdout_handler(stream: TextIO) -> logging.Handler:
    """A handler for ``stream``; one that is no file of the system is written to at once."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return logging.StreamHandler(stream)
    stream.flush()  # the handler writes past the stream's own buffer
    return PatientHandler(descriptor)


def flush_log() -> None:
    """Have what was logged written, for a process that ends without the interpreter's own end."""
    for handler in logging.getLogger().handlers:
        handler.flush()
