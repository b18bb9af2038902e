"""The order of ``etlctl run``: start, look after, drain, stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from common.exit_codes import ExitCode
from common.runtime.reload.terminal import Terminal
from etlctl.run.child import Child, CrashLoop
from etlctl.run.journal import Journal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a process may take beyond the time that it gives itself.
MARGIN_SECONDS = 5.0
_POLL_SECONDS = 0.1
_PROBE_EVERY_SECONDS = 1.0


class _AtOnce(Exception):
    """A second request to stop."""


@dataclass(frozen=True, slots=True)
class Order:
    """The processes in the order in which they stop.

    ``sources`` bring samples in, ``stages`` move what is in flight, ``servers`` go last.
    ``in_flight`` gives the entries between the stages, None where nobody can tell.
    """

    sources: Sequence[Child]
    stages: Sequence[Child]
    servers: Sequence[Child]
    in_flight: Callable[[], int | None]
    drain_seconds: float

    @property
    def all(self) -> list[Child]:
        """Every process, servers first."""
        return [*self.servers, *self.sources, *self.stages]


class Supervisor:
    """Runs the processes until it is asked to stop; :meth:`run` is for the main thread."""

    def __init__(
        self,
        order: Order,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._order, self._journal = order, journal
        self._clock, self._sleep = clock, sleep
        self._terminal = Terminal()
        self._requests = 0
        self._reload = False
        self._asked_by = ""
        self._ready = False
        self._probe_at = 0.0

    def take_signals(self) -> None:
        """Have Ctrl-C and SIGTERM ask for a stop, and the second of them end all.

        SIGHUP is for the stages, which then read the configuration again, unless it says that the
        terminal is gone.
        """
        for number in SIGNALS:
            signal.signal(number, self._noticed)

    def run(self) -> ExitCode:
        """Start what does not run yet, and look after it; the exit code of the whole."""
        code = ExitCode.OK
        try:
            for child in self._order.all:
                if not child.running and not self._requests:
                    child.start()
            while not self._requests:
                for child in self._order.all:
                    child.look_after()
                self._pass_reload_on()
                self._watch_readiness()
                self._sleep(_POLL_SECONDS)
            self._journal.say(f"stopping ({self._asked_by}); Ctrl-C again ends everything at once")
        except CrashLoop as error:
            self._journal.say(f"{error}; stopping", "error")
            code = error.code
        except BaseException:
            self.kill()
            raise
        return self._stop(code)

    def asked_to_stop(self) -> bool:
        """Whether a signal has come."""
        return self._requests > 0

    def kill(self) -> None:
        """End everything at once."""
        for child in reversed(self._order.all):
            child.kill()

    def _noticed(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not self._terminal.is_gone():
            self._reload = True
            return
        self._requests += 1
        self._asked_by = signal.Signals(number).name

    def _pass_reload_on(self) -> None:
        if not self._reload:
            return
        self._reload = False
        for child in (*self._order.sources, *self._order.stages):
            child.reload()
        self._journal.say("the stages read the configuration again (SIGHUP)")

    def _watch_readiness(self) -> None:
        if self._clock() < self._probe_at:
            return
        stages = [child for child in self._order.all if child.program.is_stage]
        ready = all(child.ready() for child in stages)
        if ready and not self._ready:
            self._journal.say("all stages are ready")
        self._ready = ready
        self._probe_at = self._clock() + _PROBE_EVERY_SECONDS

    def _stop(self, code: ExitCode) -> ExitCode:
        order = self._order
        try:
            late = self._end(order.sources)
            if not code:
                self._drain()
            for child in order.stages:
                late |= self._end([child])
            late |= self._end(order.servers)
        except _AtOnce:
            self._journal.say("everything ends at once", "warning")
            self._end_at_once()
            return ExitCode.FORCED
        if late and not code:
            code = ExitCode.DRAIN_DEADLINE
        self._journal.say(f"stopped, exit code {int(code)}" if code else "stopped")
        return code

    def _end_at_once(self) -> None:
        for child in (*self._order.sources, *self._order.stages):
            child.kill()
        for child in self._order.servers:
            child.terminate()  # to Redis it means: write down what you have, which takes a moment
        deadline = self._clock() + MARGIN_SECONDS
        while any(one.running for one in self._order.servers) and self._clock() < deadline:
            self._sleep(_POLL_SECONDS)
        self.kill()

    def _drain(self) -> None:
        """Leave the stages time to load what is in flight; what is not then stays in Redis."""
        needed = (*self._order.servers, *self._order.stages)
        deadline = self._clock() + self._order.drain_seconds
        waiting = self._order.in_flight()
        while waiting and self._clock() < deadline and all(child.running for child in needed):
            self._wait()
            waiting = self._order.in_flight()
        if waiting:
            self._journal.say(
                f"{waiting} entries are still in flight: they stay in Redis, and are loaded after "
                "the next start"
            )

    def _end(self, children: Sequence[Child]) -> bool:
        """Stop them together; True if one did not finish in time."""
        alive = [child for child in children if child.running]
        for child in children:
            child.terminate()
        late = False
        for child in alive:
            deadline = self._clock() + child.program.drain_seconds + MARGIN_SECONDS
            while child.running and self._clock() < deadline:
                self._wait()
            if child.running:
                self._journal.say(f"{child.name} did not end in time, and is killed", "warning")
                child.kill()
                late = True
            late |= child.exit_code() == ExitCode.DRAIN_DEADLINE
        return late

    def _wait(self) -> None:
        if self._requests > 1:
            raise _AtOnce
        self._sleep(_POLL_SECONDS)
