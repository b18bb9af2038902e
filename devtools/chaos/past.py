"""History that Prometheus has of before the run, and the backfill of it beside the faults.

What the product promises of a backfill is judged: it goes on after anything but a Redis that lost
it. There it is begun again, as an operator does.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from common.errors import StackError
from common.state.backfills import Backfill, Backfills, Order, Part
from common.state.keys import Keys
from devtools import PROJECT_ROOT
from devtools.chaos.load import COUNTER, COUNTERS, JOB, counter_series
from devtools.servers.prometheus_server import PrometheusServer

if TYPE_CHECKING:
    from devtools.chaos.rig import Rig

# Blocks must not overlap what the server has of its own.
_BEFORE_NOW_SECONDS = 4 * 3600
_BLOCK_SECONDS = 7200
# An increase is whole only where the source has the five minutes before it.
_LOOKBACK_SECONDS = 300
_LEAD_IN_SECONDS = 2 * _LOOKBACK_SECONDS
_RESETS_PER_SAMPLE = 0.002
# A window takes 0.1 to 0.3 s on an idle machine, and all extractors share them.
_SECONDS_PER_WINDOW = 1.0
# What is in hand when something is asked for, and whatever broke before.
_SETTLING_SECONDS = 60.0
COMMAND_SECONDS = 60.0
_BEGUN = re.compile(r"^Backfill (\S+) is begun", re.MULTILINE)


class PastSamples:
    """``seconds`` of the load's counters, a sample a second; ``(start_ms, end_ms]`` is whole."""

    def __init__(self, now_seconds: float, seconds: int) -> None:
        end_seconds = (int(now_seconds) - _BEFORE_NOW_SECONDS) // _BLOCK_SECONDS * _BLOCK_SECONDS
        self._times = range(end_seconds - seconds - _LEAD_IN_SECONDS, end_seconds + 1)
        self.start_ms = (end_seconds - seconds) * 1000
        self.end_ms = end_seconds * 1000

    def write(self, file: Path, instance: str) -> None:
        """Write them as OpenMetrics text, with the labels that a scrape of ``instance`` gives."""
        rng = random.Random("past")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8") as text:
            text.write(f"# TYPE {COUNTER.removesuffix('_total')} counter\n")
            for index in range(COUNTERS):
                series = counter_series(index, job=JOB, instance=instance)
                value = 0.0
                for at_seconds in self._times:
                    grows = rng.random() > _RESETS_PER_SAMPLE
                    value = value + rng.random() if grows else 0.0
                    text.write(f"{series} {value!r} {at_seconds}\n")
            text.write("# EOF\n")

    def give(self, servers: Iterable[PrometheusServer], file: Path, instance: str) -> None:
        """Add them to what servers hold, by way of a file."""
        self.write(file, instance)
        for server in servers:
            server.backfill(file)
        file.unlink()


@dataclass(slots=True)
class PastFound:
    """What became of it.

    ``begun``: how often it was begun, of which ``lost`` times because Redis had lost it, and
    ``cancelled`` times it had been cancelled. ``samples`` were extracted since Redis lost it last.
    ``seconds``: how long it lasted beside the faults; ``over``: it ended by itself.
    """

    begun: int = 0
    lost: int = 0
    cancelled: int = 0
    samples: int = 0
    seconds: float = 0.0
    over: bool = False


class PastBackfill:
    """The backfill of the past, by the operator's command.

    ``rate`` in samples per second; ``window_seconds``: the length of a rollup's windows.
    """

    def __init__(self, rig: Rig, rate: float, window_seconds: int) -> None:
        self._rig = rig
        self._rate = rate
        self._window_seconds = window_seconds
        self._id = ""
        self._began_at = 0.0
        self.found = PastFound()

    def begin(self, *, order: Order = "newest", limited: bool = True) -> None:
        """Begin it: what is loaded, and not lost, is left out."""
        past = self._rig.past
        range_ = ("--from", str(past.start_ms // 1000), "--to", str(past.end_ms // 1000))
        rate = ("--rate", f"{self._rate:g}") if limited else ()
        said = self._etlctl(*range_, "--query", COUNTER, "--order", order, *rate, "--detach")
        if found := _BEGUN.search(said):
            self._id = found[1]
            self._began_at = self._began_at or monotonic()
            self.found.begun += 1
        elif "There is nothing to do" not in said:
            raise StackError(f"no backfill was begun: {said}")

    def go_on(self) -> None:
        """Begin it again where Redis has lost it, and see whether it is over."""
        current = self.current()
        if current is None:
            self.found.lost += 1
            self.found.over = False
            self.begin()
        elif current.state == "done" and not self.found.over:
            self.found.over = True
            self.found.seconds = monotonic() - self._began_at

    def current(self) -> Backfill | None:
        """The one that was begun last, where Redis has it."""
        return next((one for one in self._backfills().all() if one.id == self._id), None)

    def interrupt(self, rest_seconds: float) -> bool:
        """Pause it, resume it, cancel it and begin it again; false where it has ended by itself."""
        self.go_on()
        current = self.current()
        if current is None or current.state != "running":
            return False
        self._etlctl("pause", self._id)
        # A window that was being extracted is committed or given back, or its lease runs out.
        self._rig.until(lambda: not self._is_worked_on(), "it is at rest")
        before = self._samples()
        self._rig.pause(rest_seconds)
        if (after := self._samples()) != before:
            raise StackError(f"{after - before} samples were extracted of a backfill at rest")
        self._etlctl("resume", self._id)
        self._rig.until(
            lambda: self._samples() > before or self._is_over(),
            "it goes on",
            deadline_seconds=_SETTLING_SECONDS + self._paced_seconds(),
        )
        if not self._is_over():
            self._cancel()
            self.begin(order="oldest")
        return True

    def finish(self) -> list[str]:
        """Have what is still to come extracted without a rate; what is wrong then.

        Raises :class:`StackError` when it does not come to an end.
        """
        rig = self._rig
        self.go_on()
        if not self.found.over:
            self.found.seconds = monotonic() - self._began_at
            self._cancel()
        self.begin(order="oldest", limited=False)

        def loaded() -> bool:
            coming = any(part.coming for part in self.parts())
            return not coming and not any(feed.below for feed in rig.feeds().values())

        coming_ms = sum(end - start for part in self.parts() for start, end in part.coming)
        windows = coming_ms / 1000 / self._window_seconds
        deadline_seconds = _SETTLING_SECONDS + windows * _SECONDS_PER_WINDOW
        rig.until(loaded, "the past is loaded", deadline_seconds=deadline_seconds)
        found = self._backfills().all()
        self.found.samples = sum(one.samples for one in found)
        return [
            f"the backfill {one.id} found {one.gap_ms} ms deleted that Prometheus has"
            for one in found
            if one.gap_ms
        ]

    def _paced_seconds(self) -> float:
        """How long its rate still keeps the next window waiting, after what was read at once."""
        until_ms = self._rig.redis.hget(self._keys.backfill(self._id), "not_before_ms")
        return max(0.0, (float(until_ms or 0) - self._now_ms()) / 1000)

    def _now_ms(self) -> float:
        seconds, microseconds = self._rig.redis.time()
        return seconds * 1000 + microseconds / 1000

    def _is_over(self) -> bool:
        current = self.current()
        return current is not None and current.state == "done"

    def _is_worked_on(self) -> bool:
        """Whether a worker has the lease of a window of it."""
        now_ms = self._now_ms()
        return any(
            window["t"] and window["d"] > now_ms
            for part in self.parts()
            for window in map(json.loads, self._rig.redis.hvals(self._keys.windows(part.name)))
        )

    def _cancel(self) -> None:
        try:
            self._etlctl("cancel", self._id)
        except StackError:
            # It may come to its end at that moment.
            if not self._is_over():
                raise
        else:
            self.found.cancelled += 1

    def _samples(self) -> int:
        current = self.current()
        return current.samples if current else 0

    def parts(self) -> list[Part]:
        """The parts of all backfills that there are."""
        return self._backfills().parts()

    @property
    def _keys(self) -> Keys:
        return Keys(self._rig.settings.pipeline.redis_namespace)

    def _backfills(self) -> Backfills:
        return Backfills(self._rig.redis, self._keys)

    def _etlctl(self, *arguments: str) -> str:
        """What ``etlctl backfill`` says. Raises :class:`StackError` unless it ends with 0."""
        rig = self._rig
        config = ("--config", str(rig.stack.config_path))
        try:
            done = subprocess.run(
                [sys.executable, "-m", "etlctl", "backfill", *arguments, *config],
                cwd=PROJECT_ROOT,
                env={**os.environ, **rig.direct_environ()},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(str(error)) from error
        if done.returncode:
            raise StackError(f"etlctl backfill {' '.join(arguments)}: {done.stdout.strip()}")
        return done.stdout
