"""One process of ``etlctl run``, started again whenever it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from common.errors import EtlError
from common.exit_codes import ExitCode
from etlctl.run import GUARD
from etlctl.run.journal import Journal

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
# A process that lived so long was well: what ends it then is something new.
STEADY_SECONDS = 60.0
# So long a process may need until it has its own handlers of signals.
YOUNG_SECONDS = 10.0
# Deaths in a row, none of them after a steady life, after which nobody waits for the next.
DEATHS_IN_A_ROW = 8
_PROBE_SECONDS = 1.0


class CrashLoop(EtlError):
    """A process dies again and again, or with a code that says that a restart is of no use."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Program:
    """What is run. ``host`` and ``port``: where it answers; ``is_stage``: on /readyz."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    host: str
    port: int
    drain_seconds: float
    is_stage: bool = True

    @property
    def address(self) -> str:
        """``host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass
class Child:
    """A process that is looked after: see :meth:`look_after`. Not safe for several threads.

    It is killed by the kernel when this process dies, and sees no Ctrl-C of the terminal: the
    order in which processes stop is ours.
    """

    program: Program
    journal: Journal
    clock: Callable[[], float] = time.monotonic
    deaths: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None
    _started: float = 0.0
    _due: float | None = field(default=None)

    @property
    def name(self) -> str:
        """As it stands in front of its lines."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Process id of the last process that was started; 0 if there was none."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Launch it; its output goes to the journal."""
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *self.program.command]
        self._due, self._started = None, self.clock()
        self._process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.program.environ),
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name=f"{self.name}-log", daemon=True
        )
        self._reader.start()

    def look_after(self) -> None:
        """Notice a death, and start it again when its time has come.

        Raises :class:`CrashLoop` when that is of no use.
        """
        if self.running:
            return
        if self._due is None:
            self._died()
        elif self.clock() >= self._due:
            self.start()

    def ready(self) -> bool:
        """Whether a stage answers that all it depends on serves it."""
        return self.running and answers(self.program.host, self.program.port, "/readyz")

    def reload(self) -> None:
        """Have it read its configuration again; one that has just begun does so anyway.

        Until it has its handlers, SIGHUP would end it.
        """
        young = self.clock() - self._started < YOUNG_SECONDS
        if self._process is not None and self.running and not young:
            self._process.send_signal(signal.SIGHUP)

    def terminate(self) -> None:
        """Ask it to finish what it holds and to end; a start that is due is called off."""
        self._due = None
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self._due = None
        if self._process is not None and self.running:
            # It leads a session of its own; the id is free only once it was waited for.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def exit_code(self) -> int:
        """Of the last process, negative for a signal; its last lines have been printed."""
        if self._process is None:
            return 0
        if self._reader is not None:
            # A process of its own that outlives it may hold the pipe open.
            self._reader.join(timeout=1.0)
        return self._process.poll() or 0

    def _died(self) -> None:
        code, lived_seconds = self.exit_code(), self.clock() - self._started
        how = ended(code)
        if code == ExitCode.CONFIG and self.program.is_stage:
            raise CrashLoop(f"{self.name} {how}: see its lines above", ExitCode.CONFIG)
        self.deaths = 1 if lived_seconds >= STEADY_SECONDS else self.deaths + 1
        if self.deaths >= DEATHS_IN_A_ROW:
            raise CrashLoop(
                f"{self.name} {how}, for the {self.deaths}th time within {STEADY_SECONDS:g} s of "
                "its start: see its lines above",
                ExitCode.ERROR,
            )
        wait_seconds = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (self.deaths - 1))
        self._due = self.clock() + wait_seconds
        again = f" ({self.deaths} in a row)" if self.deaths > 1 else ""
        self.journal.say(
            f"{self.name} {how}{again}; it is started again in {wait_seconds:g} s", "warning"
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.journal.line(self.name, line)


def ended(code: int) -> str:
    """How a process ended, as the middle of a sentence."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET answers 200 within a second."""
    connection = HTTPConnection(host, port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
