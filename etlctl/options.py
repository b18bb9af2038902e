"""Options that several commands share, and how commands come to share them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from common.errors import ConfigError
from common.secret_files import check_secret_mode, read_secret
from etlctl.times import LATEST_MS, BadTime, parse_time

T = TypeVar("T")


def _with_redis_of_run(value: Path | None) -> Path | None:
    from etlctl.run.folder import use_redis_of_run

    return use_redis_of_run(value)


def _config_option(callback: Callable[..., Any] | None) -> Any:
    return typer.Option(
        "--config",
        metavar="FILE",
        envvar="ETL_CONFIG",
        help="Configuration file; config/etl.yaml if not given.",
        callback=callback,
    )


ConfigFile = Annotated[Path | None, _config_option(_with_redis_of_run)]
# For what needs no Redis, or brings its own.
PlainConfigFile = Annotated[Path | None, _config_option(None)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def is_time(option: typer.CallbackParam, text: str | None) -> str | None:
    """The text of an option, if it can be a time whatever is now; so no server is asked first.

    Raises :class:`BadTime`.
    """
    if text is not None:
        try:
            parse_time(text, lambda: LATEST_MS)
        except BadTime as error:
            raise BadTime(f"{option.opts[0]}: {error}") from None
    return text


def read_secret_option(option: str, file: Path) -> str:
    """The secret in the file that ``option`` names. Raises :class:`ConfigError`."""
    try:
        check_secret_mode(file)
        return read_secret(file)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def group(purpose: str) -> typer.Typer:
    """A command that consists of other commands; ``purpose`` is its help."""
    app = typer.Typer(help=purpose, no_args_is_help=True, rich_markup_mode=None)
    # Without a callback typer makes the only command of a group the group itself.
    app.callback()(lambda: None)
    return app


def shared_options(
    parameter: str, maker: Callable[..., object]
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A decorator: typer reads the parameters of ``maker`` in place of ``parameter``.

    The function gets what ``maker`` returns. It may itself be the maker of another one.
    """
    wanted = signature(maker, eval_str=True).parameters

    def decorated(function: Callable[..., T]) -> Callable[..., T]:
        own = signature(function, eval_str=True)

        @functools.wraps(function)
        def filled(**given: Any) -> T:
            made = maker(**{name: given.pop(name) for name in wanted})
            return function(**given, **{parameter: made})

        parameters: list[Parameter] = []
        for name, one in own.parameters.items():
            parameters += wanted.values() if name == parameter else [one]
        # Typer calls by name only, and any order of defaults is allowed there.
        by_name = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
        filled.__signature__ = own.replace(parameters=by_name)  # type: ignore[attr-defined]
        return filled

    return decorated
