"""SIGTERM and SIGINT: the first asks to stop, the second forces, and a deadline stands behind both.

SIGHUP asks a process that has a configuration to read it again, unless its terminal is gone.

A thread reads signals from a pipe that the interpreter's own C handler writes to, so they are
noticed while the main thread sits in a library's call, and no lock is ever taken inside a handler
(setting a ``threading.Event`` there can deadlock with the main thread waiting on it).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from common.exit_codes import ExitCode
from common.runtime.reload.terminal import Terminal

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long what is done before a forced exit (log, releasing work) may take.
LAST_WORDS_SECONDS = 3.0
# How long reporting the stop may take.
NOTICE_SECONDS = 1.0
# How often the deadline is looked at once the process stops, and whether it stops before.
_POLL_SECONDS = 0.2
_IDLE_POLL_SECONDS = 2.0


class Shutdown:
    """Turns signals into the ``stop`` event, and ends the process when that does not help.

    ``on_stop`` is called with the reason when a stop is requested, by a signal or from within;
    ``on_exit`` with the exit code before the process is ended by force. Neither can delay the end.
    ``on_hang_up`` is called at SIGHUP, and returns at once; without it, SIGHUP is left alone.
    """

    def __init__(
        self,
        stop: threading.Event,
        drain_seconds: float,
        on_stop: Callable[[str], None],
        on_exit: Callable[[ExitCode], None],
        *,
        on_hang_up: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self._stop = stop
        self._drain_seconds = drain_seconds
        self._on_stop = on_stop
        self._on_exit = on_exit
        self._clock = clock
        self._end = end
        self._on_hang_up = on_hang_up
        self._terminal = Terminal()
        self.signals = 0
        self._deadline: float | None = None
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="shutdown", daemon=True)

    def start(self) -> None:
        """Take the signals over, for the rest of this process, and begin to watch.

        Must be called in the main thread.
        """
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*SIGNALS, *([signal.SIGHUP] if self._on_hang_up else [])):
            signal.signal(number, _noticed)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*SIGNALS, signal.SIGHUP))
        # A forked child must not wake its parent.
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        self._thread.start()

    def finished(self) -> None:
        """The work is done; only threads that refuse to end may still keep the process."""
        if self._deadline is None:
            self._deadline = self._clock() + self._drain_seconds
            self._writer.send(b"\0")  # no signal's number: the deadline is looked at from now on

    def stop_for(self, reason: str) -> None:
        """Ask for a stop from within, with a reason."""
        self._stopping(reason)
        self._stop.set()

    def was_signalled(self) -> bool:
        """Whether a signal asked for a stop; from now on signals wait for what the process becomes.

        Must be called in the main thread.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, signal.SIGHUP))
        try:
            unread = self._reader.recv(64, socket.MSG_PEEK)
        except BlockingIOError:
            unread = b""
        return self.signals > 0 or any(number in SIGNALS for number in unread)

    def signalled(self, number: int) -> None:
        """A signal has come."""
        if number == signal.SIGHUP and self._on_hang_up and not self._terminal.is_gone():
            self._on_hang_up()
            return
        self.signals += 1
        if self.signals > 1:
            self._exit(ExitCode.FORCED)
            return
        # Before the event, so that the log shows the end in its order.
        self._stopping(signal.Signals(number).name)
        self._stop.set()

    def check(self) -> None:
        """Notice a stop that came from within, and the deadline."""
        if self._stop.is_set() and self._deadline is None:
            self._stopping("stop")
        if self._deadline is not None and self._clock() >= self._deadline:
            self._exit(ExitCode.DRAIN_DEADLINE)

    def _watch(self) -> None:
        while True:
            # A signal wakes it; what does not is a stop that came from within.
            waits_seconds = _IDLE_POLL_SECONDS if self._deadline is None else _POLL_SECONDS
            readable, _, _ = select.select([self._reader], [], [], waits_seconds)
            for number in self._reader.recv(64) if readable else b"":
                if number in (*SIGNALS, signal.SIGHUP):
                    self.signalled(number)
            self.check()

    def _stopping(self, reason: str) -> None:
        if self._deadline is None:
            self._deadline = self._clock() + self._drain_seconds
        _bounded(lambda: self._on_stop(reason), NOTICE_SECONDS)

    def _exit(self, code: ExitCode) -> None:
        _bounded(lambda: self._on_exit(code), LAST_WORDS_SECONDS)
        self._end(code)


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the interpreter has already written the signal's number into the pipe."""


def _bounded(action: Callable[[], None], seconds: float) -> None:
    # In a thread of its own: a log that blocks (a full pipe) must not keep the process from ending.
    thread = threading.Thread(target=action, name="last-words", daemon=True)
    thread.start()
    thread.join(seconds)
