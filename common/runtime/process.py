"""A process that is watched: its log, health, HTTP, signals and exit code.

Nothing heavy is imported here: etl-metrics and the simulator are this and no more, the stages add
their settings and their telemetry (common/runtime/service.py).
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Protocol

from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.http_server import HttpServer, Route
from common.runtime.log_writer import flush_log
from common.runtime.readiness.health import Health
from common.runtime.reload.begin_again import begin_again
from common.runtime.signals import Shutdown
from common.version import project_version


class Events(Protocol):
    """Where events are written: a :class:`Telemetry`, or an :class:`EventLog` alone."""

    def emit(self, event: str, /, **fields: Any) -> None:
        """Write an event of the table."""


class Process:
    """What every process has.

    ``stop`` is set when the process is to end; it then has ``drain_seconds``. ``on_hang_up`` is
    called at SIGHUP.
    """

    def __init__(
        self,
        name: str,
        telemetry: Events,
        *,
        live_seconds: float,
        drain_seconds: float,
        on_hang_up: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.events = telemetry
        self.stop = threading.Event()
        self.health = Health(live_seconds)
        self._drain_seconds = drain_seconds
        self._started = time.monotonic()
        self._at_deadline: list[Callable[[], None]] = []
        self._http: HttpServer | None = None
        self._begins_again = False
        self._shutdown = Shutdown(
            self.stop,
            drain_seconds,
            self._on_stop,
            self._on_forced_exit,
            on_hang_up=on_hang_up,
            end=self._end,
        )

    @property
    def http_port(self) -> int:
        """The port that is listened on, once started."""
        return self._http.port if self._http else 0

    def listen(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Route],
        *,
        tls: ssl.SSLContext | None = None,
        settings_names: str = "pipeline.http_host and http_port",
    ) -> None:
        """Serve ``routes``, take the signals over, report the start.

        Raises :class:`ConfigError` when the address cannot be listened on.
        """
        self._http = HttpServer(
            host,
            port,
            routes,
            tls=tls,
            on_refused=lambda client: self.events.emit("request_refused", client=client),
            settings_names=settings_names,
        )
        threading.excepthook = self._thread_failed
        self._shutdown.start()
        self.events.emit(
            "service_started", port=self.http_port, pid=os.getpid(), version=project_version()
        )

    def tick(self) -> None:
        """Show that the loop goes round; /livez fails when it has not for ``live_seconds``."""
        self.health.tick()

    def set_ready(self, name: str, ok: bool, detail: str = "", valid_seconds: float = inf) -> None:
        """Set whether a dependency serves us; /readyz fails unless all that were named do.

        It fails too when ``valid_seconds`` pass without another word about one.
        """
        if self.health.set_ready(name, ok, detail, valid_seconds):
            self.events.emit("readiness_changed", check=name, ok=ok, detail=detail)

    def on_deadline(self, action: Callable[[], None]) -> None:
        """Have ``action`` done (in seconds) when the drain deadline ends the process."""
        self._at_deadline.append(action)

    def begin_again(self, reason: str) -> None:
        """Stop as at a signal; :meth:`finish` then starts the same command in this process."""
        self._begins_again = True
        self._shutdown.stop_for(reason)

    def finish(self, code: ExitCode) -> None:
        """Report the end and stop listening; only stuck threads can hold the process after it.

        Does not return where the process begins again.
        """
        self._shutdown.finished()
        self.events.emit("service_stopped", exit_code=int(code), exit_name=code.name)
        if self._http is not None:
            self._http.close()
            self._http = None
        # Who has asked for its end meanwhile gets that.
        if self._begins_again and not self._shutdown.was_signalled():
            begin_again()

    def run(self, main: Callable[[], ExitCode]) -> ExitCode:
        """The exit code of ``main``; an error that nothing handled is one line, no traceback."""
        try:
            return main()
        except ConfigError as error:
            self.events.emit("service_failed", exc_info=error)
            sys.stderr.write(f"{error}\n")
            return ExitCode.CONFIG
        except Exception as error:
            self.events.emit("service_failed", exc_info=error)
            return ExitCode.ERROR

    def about(self) -> dict[str, Any]:
        """What /health shows beside the checks."""
        return {
            "service": self.name,
            "version": project_version(),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
        }

    def _on_stop(self, reason: str) -> None:
        self.health.stopping()
        self.events.emit("service_stopping", reason=reason, drain_seconds=self._drain_seconds)

    def _on_forced_exit(self, code: ExitCode) -> None:
        self._report_forced_exit(code)
        flush_log()

    def _end(self, code: int) -> None:
        if self._begins_again and code == ExitCode.DRAIN_DEADLINE and not self._shutdown.signals:
            begin_again()
        os._exit(code)

    def _report_forced_exit(self, code: ExitCode) -> None:
        if code is ExitCode.FORCED:
            self.events.emit("service_forced", exit_code=int(code))
            return
        self.events.emit("drain_deadline_passed", exit_code=int(code))
        for action in self._at_deadline:
            try:
                action()
            except Exception as error:
                self.events.emit(
                    "exit_action_failed", error_type=type(error).__name__, error=str(error)
                )

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread else "?"
        self.events.emit("thread_failed", thread=name, exc_info=failed.exc_value)
