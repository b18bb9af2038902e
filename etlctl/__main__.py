"""``etlctl``: the operator's command. Documented in docs/etlctl.md."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from common.errors import ConfigError, EtlError, SinkError, SourceError
from common.exit_codes import ExitCode
from etlctl.config import config_app
from etlctl.dead_letters.command import dead_letters_app
from etlctl.identity import identity
from etlctl.output import remark
from etlctl.secrets.command import secrets_app
from etlctl.simulate import simulate
from etlctl.sink.command import sink_app
from etlctl.stack.command import stack_app
from etlctl.stack.docker import EngineError
from etlctl.status import status
from etlctl.times import BadTime
from etlctl.verify.command import verify

app = typer.Typer(
    name="etlctl",
    help="Operate the pipeline: Prometheus → Redis Streams → InfluxDB.",
    no_args_is_help=True,
    add_completion=False,
    # An operator gets one sentence, never a traceback.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(secrets_app, name="secrets")
app.add_typer(sink_app, name="sink")
app.add_typer(stack_app, name="stack")
app.command("verify")(verify)
app.command("status")(status)
app.command("simulate")(simulate)
app.command("identity")(identity)


def exit_code_of(error: Exception) -> ExitCode:
    """What the process ends with when a command raises ``error``."""
    if isinstance(error, ConfigError | BadTime):
        return ExitCode.CONFIG
    if isinstance(error, SourceError | SinkError | EngineError | RedisError):
        return ExitCode.DEPENDENCY
    return ExitCode.ERROR


def message_of(error: EtlError | RedisError) -> str:
    """What an operator reads of ``error``, one line for each problem."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return f"Redis cannot be reached: {error}"
    if isinstance(error, RedisError):
        return f"Redis refuses a command: {error}"
    return str(error)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command of ``etlctl`` and exit."""
    run(app, "etlctl", arguments)


def run(command: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``command`` and exit; an error is one line for each problem on stderr."""
    try:
        command(args=None if arguments is None else list(arguments), prog_name=name)
    except (EtlError, RedisError) as error:
        for line in message_of(error).splitlines():
            remark(f"{name}: {line}")
        sys.exit(exit_code_of(error))
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; Python would complain while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.ERROR)
    sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
