"""The simulated ETL process' log as a source of series."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from common.runtime.process import Events
from services.exporter.follower import MISSING, PROBLEMS, WHYS, Follower
from services.exporter.lines import REASONS, REPEATED, LineError, parse
from services.exporter.poller import GRACE_SECONDS, KeepOn
from services.exporter.process import ProcessState
from services.exporter.series import Page, PublishedPage

_PROBLEMS = {
    None: "",
    MISSING: "does not exist",
    "denied": "may not be read",
    "not_a_file": "is no file",
    "io_error": "cannot be read",
}


class LogSource:
    """Polls the log; after each poll ``page`` shows all that is known.

    ``set_ready`` gets the name of the check, whether the log can be read, and why not.
    """

    def __init__(
        self,
        path: Path,
        telemetry: Events,
        set_ready: Callable[[str, bool, str], None],
        *,
        poll_seconds: float,
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._telemetry = telemetry
        self._set_ready = set_ready
        self._poll_seconds = poll_seconds
        self._state = ProcessState(silent_seconds, clock=clock, wall_clock=wall_clock)
        self._follower = Follower(path, self._on_line)
        self._live = False
        self._skipped_before: Counter[str] = Counter()
        self.page = PublishedPage(clock)

    def step(self, keep_on: KeepOn) -> float:
        """Read what is new and publish; in how many seconds to do it again."""
        follower = self._follower
        follower.poll(keep_on)
        if not keep_on():
            return 0.0
        if follower.problem is None and not self._live:
            # What was there when we came is history; from now on lines are news.
            self._live = True
            self._telemetry.emit("process_log_read", lines=follower.lines)
        self._report_skipped()
        problem = _PROBLEMS[follower.problem]
        self._set_ready("log", not problem, f"{self._path} {problem}" if problem else "")
        self.page.publish(self._page(), self._poll_seconds + GRACE_SECONDS)
        return self._poll_seconds

    def close(self) -> None:
        """Close the file."""
        self._follower.close()

    def _on_line(self, raw: bytes) -> str | None:
        try:
            line = parse(raw)
        except LineError as error:
            return str(error)
        return None if self._state.learn(line, live=self._live) else REPEATED

    def _report_skipped(self) -> None:
        skipped = self._follower.skipped - self._skipped_before
        self._skipped_before = Counter(self._follower.skipped)
        if skipped:
            self._telemetry.emit("process_log_lines_skipped", **skipped)

    def _page(self) -> Page:
        follower, telemetry = self._follower, Page()
        self._state.publish(telemetry)
        telemetry.set("etl_log_up", float(follower.problem is None))
        telemetry.inc("etl_log_lines_total", follower.lines)
        telemetry.inc("etl_log_breaks_total", follower.breaks)
        for reason in REASONS:
            telemetry.inc("etl_log_lines_skipped_total", follower.skipped[reason], reason=reason)
        for why in WHYS:
            telemetry.inc("etl_log_files_begun_total", follower.begun[why], why=why)
        for problem in PROBLEMS:
            telemetry.inc("etl_log_read_failures_total", follower.failures[problem], reason=problem)
        return telemetry
