"""What an operator reads of an error, and what the process ends with."""

from __future__ import annotations

import sys

from common.errors import ConfigError, EtlError, SinkError, SourceError
from common.exit_codes import ExitCode
from etlctl.times import BadTime


class CannotTell(EtlError):
    """Whether all is well cannot be told."""


class Unavailable(EtlError):
    """A server that is neither source nor sink cannot be reached, or refuses."""


def is_expected(error: Exception) -> bool:
    """Whether the error is told in a sentence; any other is a defect, and keeps its traceback."""
    return (
        isinstance(error, EtlError)
        or _is_of(error, "redis.exceptions", "RedisError")
        or _names_a_file(error)
    )


def exit_code_of(error: Exception) -> ExitCode:
    """What the process ends with when a command raises ``error``."""
    # For `status` 2 is also right where the configuration cannot be used: then nothing is known.
    if isinstance(error, ConfigError | BadTime | CannotTell) or _names_a_file(error):
        return ExitCode.CONFIG
    if isinstance(error, SourceError | SinkError | Unavailable) or (
        _is_of(error, "redis.exceptions", "RedisError")
        or _is_of(error, "etlctl.stack.docker", "EngineError")
    ):
        return ExitCode.DEPENDENCY
    return ExitCode.ERROR


def message_of(error: Exception) -> str:
    """What an operator reads of ``error``, one line for each problem."""
    for name in ("ConnectionError", "TimeoutError"):
        if _is_of(error, "redis.exceptions", name):
            return f"Redis cannot be reached: {error}{_of_run()}"
    if _is_of(error, "redis.exceptions", "RedisError"):
        return f"Redis refuses a command: {error}"
    if isinstance(error, OSError) and _names_a_file(error):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _names_a_file(error: Exception) -> bool:
    """Whether a file or folder cannot even be looked at: its name is too long, or its folder is
    another user's.
    """
    return isinstance(error, OSError) and isinstance(error.filename, str)


def _of_run() -> str:
    """Whose Redis it is, where ``etlctl run`` started it."""
    from etlctl.run.folder import folder_of_redis

    folder = folder_of_redis()
    return f": it is that of etlctl run with its data in {folder}: does that run?" if folder else ""


def _is_of(error: Exception, module: str, name: str) -> bool:
    """Whether ``error`` is of a class of a module that a command may not have imported."""
    found = sys.modules.get(module)
    return found is not None and isinstance(error, getattr(found, name))
