"""One server as one child process: start, await, stop, kill, pause, restart.

Written on subprocess and psutil. mirakuru, the kept library for this, was tried and does not fit:
it forks with ``preexec_fn`` (unsafe beside threads), leaves its processes behind when the parent is
killed, scans the environment of every process of the machine at each stop, and its errors do not
show the last lines of the server's log.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import psutil

from common.errors import StackError
from devtools.servers.lifetime import StartStop
from devtools.servers.place import LOOPBACK, Place
from devtools.servers.ports import HOST, free_port
from etlctl.run import GUARD

_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.02

_Order = Callable[[], subprocess.Popen[bytes]]


class _Spawner:
    """Starts every child from one thread that lives as long as this process.

    The kernel ties "kill me when my parent dies" to the parent's thread, not to its process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: queue.SimpleQueue[tuple[_Order, Future[subprocess.Popen[bytes]]]] = (
            queue.SimpleQueue()
        )
        self._owner_pid = 0

    def _run(self) -> None:
        while True:
            order, answer = self._orders.get()
            try:
                answer.set_result(order())
            except BaseException as error:
                answer.set_exception(error)

    def spawn(self, order: _Order) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner_pid != os.getpid():  # the first call, or the first after a fork
                threading.Thread(target=self._run, name="spawner", daemon=True).start()
                self._owner_pid = os.getpid()
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((order, answer))
        return answer.result()


_spawner = _Spawner()
_alive: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for server in list(_alive):
        with contextlib.suppress(Exception):
            server.kill()


def _signal_name(exit_code: int) -> str:
    if exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


class Server(StartStop):
    """A child process that listens on one port of its ``place``: loopback, if nobody says another.

    ``work_dir`` holds its data and configuration, the log goes to ``log_dir/name.log`` (appended
    over restarts). The port is found at the first start and kept, so that clients find a restarted
    server again. Subclasses say what to run and how to see that it is ready. Every method that
    waits has a deadline and raises :class:`StackError` with the last lines of the log when it
    passes or the process dies.
    """

    ready_seconds: float = 30.0
    stop_seconds: float = 15.0
    # Another one is to be set before the first start.
    place: Place = LOOPBACK

    def __init__(
        self,
        name: str,
        work_dir: Path,
        *,
        log_dir: Path | None = None,
        port: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.work_dir = work_dir
        self.log_path = (log_dir or work_dir) / f"{name}.log"
        self._port = port
        self._port_given = port is not None
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self._closed = False
        self._terminating = False
        self._starting = threading.Lock()

    # What a subclass says.

    def command(self) -> Sequence[str]:
        """Absolute path of the program and its arguments."""
        raise StackError(f"{self.name}: nothing to run")

    def environment(self) -> dict[str, str]:
        """The whole environment of the process."""
        return dict(os.environ)

    def prepare(self) -> None:
        """Writes configuration files; called before each launch, when the port is known."""

    def probe(self) -> str | None:
        """None when ready, else what is still missing. Called only once the process listens."""
        return None

    def forget_data(self) -> None:
        """Removes what a restart without data must not find."""
        shutil.rmtree(self.work_dir, ignore_errors=True)

    # What a user does.

    @property
    def port(self) -> int:
        """The port; changed only if another process takes it before the first start."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the running (or last) process."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last process (-N: ended by signal N), None while it runs or before."""
        return None if self._process is None else self._process.poll()

    def start(self, *, wait: bool = True) -> Self:
        """Launches the process and, unless ``wait`` is false, waits until it is ready."""
        with self._starting:
            if self.running:
                return self
            for attempt in range(1, _PORT_ATTEMPTS + 1):
                first = self._process is None and not self._port_given
                self._launch()
                try:
                    if wait:
                        self.wait_ready()
                    return self
                except BaseException as error:
                    self.kill()
                    retry = first and attempt < _PORT_ATTEMPTS and self._port_was_taken()
                    if not retry or not isinstance(error, StackError):
                        raise
                self._process, self._port = None, None
        return self

    def wait_ready(self, deadline_seconds: float | None = None) -> Self:
        """Waits until the process listens on its port and answers its probe."""
        limit_seconds = self.ready_seconds if deadline_seconds is None else deadline_seconds
        deadline = self._clock() + limit_seconds
        missing = "listening"
        while True:
            late = self._clock() >= deadline
            if not self.running:
                raise StackError(self._told(f"{self.name} {self._ending()} before it was ready"))
            missing = "listening" if not self._listens() else self.probe() or ""
            if not missing:
                return self
            if late:
                raise StackError(
                    self._told(f"{self.name} was not ready within {limit_seconds:g} s ({missing})")
                )
            time.sleep(_POLL_SECONDS)

    def signal(self, signal_number: int) -> None:
        """Sends a signal to the process; nothing happens when it has ended."""
        if self._process is not None:
            self._terminating |= signal_number == signal.SIGTERM
            self._process.send_signal(signal_number)

    def terminate(self) -> None:
        """SIGTERM, once: to a service a second one means "at once"."""
        if not self._terminating:
            self.signal(signal.SIGTERM)
        self.resume()  # a paused process would not see it

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: goes on after :meth:`pause`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the process and what it forked, and waits for its end. Data stays."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # It leads its own process group; the group's id cannot be reused before it is reaped.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _alive.discard(self)

    def wait(self, deadline_seconds: float) -> int:
        """Waits for the process to end by itself and returns its exit code (-N: signal N)."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        try:
            return self._process.wait(timeout=deadline_seconds)
        except subprocess.TimeoutExpired:
            raise StackError(
                self._told(f"{self.name} did not end within {deadline_seconds:g} s")
            ) from None

    def stop(self, deadline_seconds: float | None = None) -> int | None:
        """SIGTERM, then SIGKILL after the deadline; the exit code (-9: it had to be killed)."""
        if self._process is None:
            return None
        limit_seconds = self.stop_seconds if deadline_seconds is None else deadline_seconds
        self.terminate()
        try:
            self._process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        _alive.discard(self)
        return self._process.returncode

    def close(self) -> None:
        """Kills the process for good: a later or concurrent start is refused."""
        self._closed = True
        self.kill()

    def restart(self, *, keep_data: bool = True) -> Self:
        """Stops (if it runs) and starts on the same port, with its data or as new."""
        self.stop()
        if not keep_data:
            self.forget_data()
        return self.start()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the last process wrote."""
        return "\n".join(self._log().splitlines()[-lines:])

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    # Inside.

    def _refuse_if_closed(self) -> None:
        if self._closed:  # perhaps by another thread, a moment ago
            self.kill()
            raise StackError(f"{self.name} was closed")

    def _launch(self) -> None:
        self._refuse_if_closed()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        _ = self.port
        self.prepare()
        arguments = [
            sys.executable, "-I", "-S", str(GUARD), str(os.getpid()),
            *self.place.enter, *self.command(),
        ]  # fmt: skip
        environment = self.environment()
        self._terminating = False
        with self.log_path.open("ab") as log:
            self._log_offset = log.tell()
            self._process = _spawner.spawn(
                lambda: subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self.work_dir,
                    # Ctrl-C in the terminal is for us: we stop the servers in order.
                    start_new_session=True,
                )
            )
        _alive.add(self)
        self._refuse_if_closed()

    def _listens(self) -> bool:
        """Whether *our* process has the port: a stranger there must never be taken for ours."""
        assert self._process is not None
        if self.place.enter:
            return True  # seen only from within; strangers are not there, and the probe will tell
        try:
            connections = psutil.Process(self._process.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
            for connection in connections
            if connection.laddr
        )

    def _log(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                size_bytes = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_offset, size_bytes - 65_536))
                return log.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _port_was_taken(self) -> bool:
        return not self.running and "address already in use" in self._log().lower()

    def _ending(self) -> str:
        return f"ended with {_signal_name(self.exit_code or 0)}"

    def _told(self, problem: str) -> str:
        tail = self.log_tail()
        if not tail:
            return f"{problem}; {self.log_path} is empty"
        return f"{problem}; the last lines of {self.log_path}:\n{tail}"


def stop_together(servers: Sequence[Server], deadline_seconds: float | None = None) -> None:
    """Stops several servers at once: each gets its SIGTERM before the first is waited for."""
    for server in servers:
        server.terminate()
    for server in servers:
        server.stop(deadline_seconds)


__all__ = ["HOST", "Server", "stop_together"]
