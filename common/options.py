"""Settings of a small service: flags, then environment variables, then defaults.

The stages read etl.yaml with common/config; a service that is configured by a handful of flags
reads them with this module. Durations, secret files and error lines are the same for both. It is
made of the standard library only, because etl-metrics and the simulator have little memory.
"""

from __future__ import annotations

import argparse
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import urlsplit

from common.durations import parse_seconds, parse_size_bytes
from common.errors import ConfigError
from common.redis_url import check_redis_url
from common.secret_files import check_secret_mode, read_secret, read_secret_bytes
from common.version import project_version

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
NAMESPACE_PATTERN = r"^[a-zA-Z0-9_.-]+$"
NAMESPACE_MAX_CHARS = 64

T = TypeVar("T")
Parse = Callable[[str], Any]
_SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
# What compose, which often shares our environment, takes for itself.
_OF_COMPOSE = ("PORT", "MEMORY", "CPUS")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its flag and its variable are made of ``name``; ``parse`` raises ValueError.

    ``aliases`` are variables that count if the option's own is not set. Without a default, an
    option that is ``required`` must be given, and any other is None.
    """

    name: str
    parse: Parse
    default: str | None
    help: str
    required: bool
    aliases: tuple[str, ...]

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"


def setting(
    parse: Parse,
    default: str | None,
    help_: str,
    *,
    required: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """A field of a settings dataclass that is read from an option of its name.

    A field ``x`` whose ``parse`` is :func:`secret` is read from the file that ``x_file`` names.
    """
    metadata = {"option": (parse, default, help_, required, aliases)}
    return field(metadata=metadata, repr=parse is not secret)


class Options(Generic[T]):
    """The options that the fields of a dataclass ``settings`` are read from.

    Variables begin with ``prefix``; ``ignored`` are some that are meant for somebody else.
    """

    def __init__(
        self, settings: type[T], service: str, prefix: str, ignored: Sequence[str] = ()
    ) -> None:
        self._settings = settings
        self.service = service
        self.prefix = prefix
        self._fields = [each.name for each in fields(settings)]  # type: ignore[arg-type]
        self.options = tuple(_option(each) for each in fields(settings))  # type: ignore[arg-type]
        known = {self.variable(name) for name in (*_OF_COMPOSE, *ignored)}
        self._known = known.union(*(self._variables(option) for option in self.options))

    def variable(self, name: str) -> str:
        """The environment variable of an option."""
        return f"{self.prefix}{name.upper()}"

    def called(self, name: str) -> str:
        """An option as an error calls it."""
        return f"{self.variable(name)} (--{name.replace('_', '-')})"

    def problem(self, name: str, text: str) -> str:
        """One line about one option."""
        return f"{self.service}: {self.called(name)}: {text}"

    def read(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        description: str,
        epilog: str = "",
    ) -> T:
        """Settings from flags, then environment, then defaults; an empty variable is not set.

        Raises :class:`ConfigError` with one line for each problem.
        """
        given = vars(self._parser(description, epilog).parse_args(arguments))
        problems = [
            f"{self.service}: {name}: is no setting of {self.service}; --help lists them"
            for name in sorted(environ)
            if name.startswith(self.prefix) and name not in self._known and environ[name]
        ]
        values: dict[str, Any] = {}
        for name, option in zip(self._fields, self.options, strict=True):
            where, text = self._find(option, given[option.name], environ)
            values[name] = None
            if text is not None:
                try:
                    values[name] = option.parse(text)
                except ValueError as error:
                    problems.append(f"{self.service}: {where}: {error}")
            elif option.required:
                problems.append(self.problem(option.name, "must be set, there is no default"))
        if problems:
            raise ConfigError(*problems)
        return self._settings(**values)

    def _parser(self, description: str, epilog: str) -> argparse.ArgumentParser:
        first = self.options[0]
        parser = _Parser(
            prog=f"python -m services.{self._settings.__module__.split('.')[1]}",
            description=description,
            epilog=f"Each can be set in the environment too: {first.flag} is "
            f"{self.variable(first.name)}. {epilog}",
            allow_abbrev=False,
        )
        parser.service = self.service
        for option in self.options:
            default = f" (default: {option.default})" if option.default else ""
            kind = option.name.rsplit("_", 1)[-1].upper()
            parser.add_argument(option.flag, metavar=kind, help=f"{option.help}{default}")
        parser.add_argument("--version", action="version", version=project_version())
        return parser

    def _variables(self, option: Option) -> tuple[str, ...]:
        return (self.variable(option.name), *option.aliases)

    def _find(
        self, option: Option, flag: str | None, environ: Mapping[str, str]
    ) -> tuple[str, str | None]:
        """Where the option's text was found, and the text."""
        if flag is not None:
            return self.called(option.name), flag
        for name in self._variables(option):
            if environ.get(name):
                return f"{name} ({option.flag})", environ[name]
        return self.called(option.name), option.default


def _option(each: Field[Any]) -> Option:
    option = Option(each.name, *each.metadata["option"])
    return replace(option, name=f"{each.name}_file") if option.parse is secret else option


class _Parser(argparse.ArgumentParser):
    service = ""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.service}: {message}")


def text(value: str) -> str:
    """Any text."""
    return value


def whole(*bounds: str) -> Parse:
    """A whole number within bounds such as ``>= 1``."""
    return _number(int, "a whole number", bounds)


def number(*bounds: str) -> Parse:
    """A number within bounds."""
    return _number(float, "a number", bounds)


def seconds(*bounds: str) -> Parse:
    """A duration within bounds, in seconds or as in ``1m30s``."""
    return _number(parse_seconds, None, bounds)


def size(*bounds: str) -> Parse:
    """A size in bytes, as in ``4096`` or ``10MiB``."""
    return _number(parse_size_bytes, None, bounds)


def _number(convert: Parse, kind: str | None, bounds: Sequence[str]) -> Parse:
    """``kind`` is what an error says of a text that is none; without it, the converter's own."""

    def parse(value: str) -> Any:
        try:
            found = convert(value)
        except ValueError as error:
            raise ValueError(f"must be {kind}" if kind else str(error)) from None
        if not math.isfinite(found):
            raise ValueError("must be finite")
        for bound in bounds:
            sign, limit = bound.split()
            if not _SIGNS[sign](found, float(limit)):
                raise ValueError(f"must be {bound}")
        return found

    return parse


def port(value: str) -> int:
    """A TCP port."""
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65_535):
        raise ValueError("must be a port, 0 to 65535 (0 takes a free one)")
    return int(value)


def log_level(value: str) -> str:
    """The name of a level of the log."""
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return value.upper()


def namespace(value: str) -> str:
    """The prefix of the pipeline's keys in Redis."""
    if not re.fullmatch(NAMESPACE_PATTERN, value) or len(value) > NAMESPACE_MAX_CHARS:
        raise ValueError(
            f"must be 1 to {NAMESPACE_MAX_CHARS} of the characters a-z, A-Z, 0-9, `_`, `.`, `-`"
        )
    return value


def redis_url(value: str) -> str:
    """The address of a Redis, without its password."""
    check_redis_url(value)
    return value


def http_url(value: str) -> str:
    """An address that a browser opens, without a user and password."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username or not value.isprintable() or " " in value:
        raise ValueError("must hold no user, no blanks and no control characters")
    return value


def username(value: str) -> str:
    """The user of basic authentication."""
    if ":" in value:
        raise ValueError("must hold no colon: basic authentication cannot carry it")
    return value


def readable_file(value: str) -> str:
    """The path of a file that can be read and is no secret."""
    read_secret_bytes(value)
    return value


def secret(value: str) -> str:
    """The secret in the file of that path, which only its owner and group may read."""
    check_secret_mode(value)
    return read_secret(value)
