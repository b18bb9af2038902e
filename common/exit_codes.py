"""What a service's exit code says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Named exit codes; a restart helps after any but OK and CONFIG.

    6 to 8 are verdicts of ``etlctl verify``.
    """

    OK = 0
    ERROR = 1
    CONFIG = 2
    DEPENDENCY = 3
    DRAIN_DEADLINE = 4
    FORCED = 5


MEANINGS = {
    ExitCode.OK: "Stopped on request, with all work finished.",
    ExitCode.ERROR: "Ended by an error that nothing handled.",
    ExitCode.CONFIG: "The configuration, a secret, the log file or the port cannot be used.",
    ExitCode.DEPENDENCY: "A dependency is away that the process cannot wait for.",
    ExitCode.DRAIN_DEADLINE: "Did not finish in time after a request to stop.",
    ExitCode.FORCED: "Stopped at once after a second request to stop.",
}
