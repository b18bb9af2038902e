"""A service as small as can be.

``python -m tests.integration.runtime.service_under_test MODE [OPTIONS]``

It says ``working`` on stdout once its loop runs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from common.errors import ConfigError, SinkError
from common.runtime.log_writer import flush_log
from common.runtime.service import ExitCode, Service, run

CLOCK_STEP_SECONDS = 0.02


def loop(service: Service) -> ExitCode:
    """The usual: work until told to stop."""
    service.set_ready("redis", True)
    say_working()
    while not service.stop.wait(CLOCK_STEP_SECONDS):
        service.tick()
    return ExitCode.OK


def stall(service: Service) -> ExitCode:
    """A loop that goes round no more, but would stop."""
    service.set_ready("redis", True)
    say_working()
    service.stop.wait()
    return ExitCode.OK


def hang(service: Service) -> ExitCode:
    """Ignores the stop event; its work is released at the deadline."""
    service.on_deadline(lambda: service.telemetry.emit("sink_resumed", held_seconds=7))
    service.on_deadline(_raise)
    say_working()
    while True:
        time.sleep(3600)


def slow(service: Service) -> ExitCode:
    """Takes as long to stop as the file in ``UNTIL`` is not there."""
    service.set_ready("redis", True)
    say_working()
    service.stop.wait()
    while not os.path.exists(os.environ["UNTIL"]):
        time.sleep(CLOCK_STEP_SECONDS)
    return ExitCode.OK


def busy(service: Service) -> ExitCode:
    """Ignores the stop event, and never lets the interpreter rest either."""
    say_working()
    while True:
        sum(range(10_000))


def chatty(service: Service) -> ExitCode:
    """Logs without end."""
    while not service.stop.is_set():
        service.telemetry.emit("sink_failed", cause="timeout", words="x" * 200)
    return ExitCode.OK


def thread(service: Service) -> ExitCode:
    """Returns, but leaves a thread behind that does not end."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return loop(service)


def failing_thread(service: Service) -> ExitCode:
    """A thread fails while the loop goes on."""
    failing = threading.Thread(target=_raise, name="helper")
    failing.start()
    failing.join()
    return loop(service)


def crash(service: Service) -> ExitCode:
    """Ends by an error that nobody expected, with a secret in its words."""
    raise ZeroDivisionError(f"with {service.settings.load.influxdb.token.get_secret_value()}")


def unusable(service: Service) -> ExitCode:
    """Finds out later that its configuration cannot be used."""
    raise ConfigError("load.influxdb.bucket: has no such bucket")


def dependency(service: Service) -> ExitCode:
    """Cannot go on without something."""
    return ExitCode.DEPENDENCY


def from_within(service: Service) -> ExitCode:
    """Stops by itself."""
    service.stop.set()
    return loop(service)


def say_working() -> None:
    """Tell the test that the loop runs, on the log's own stream."""
    flush_log()
    sys.stdout.write("working\n")
    sys.stdout.flush()


def _raise() -> None:
    raise SinkError("could not be released")


MODES: dict[str, Callable[[Service], ExitCode]] = {
    mode.__name__: mode
    for mode in (
        *(loop, stall, hang, slow, busy, chatty, thread, failing_thread),
        *(crash, unusable, dependency, from_within),
    )
}


def main() -> NoReturn:
    """Run the mode that was named."""
    run("loader", MODES[sys.argv[1]], sys.argv[2:])


if __name__ == "__main__":
    main()
