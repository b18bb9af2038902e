"""The types of settings (durations, sizes, URLs), and how their problems are reported."""

from __future__ import annotations

import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from common.durations import parse_seconds, parse_size_bytes

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """What the number of a field counts; shown in docs/configuration.md."""

    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the key, relative to the model that found it, and a sentence."""

    path: Path
    text: str


def problems_error(problems: Iterable[Problem]) -> PydanticCustomError | None:
    """One validation error that carries several problems, or None when there are none."""
    found = tuple(problems)
    if not found:
        return None
    summary = "; ".join(f"{'.'.join(map(str, item.path))} {item.text}" for item in found)
    return PydanticCustomError("problems", "{summary}", {"summary": summary, "problems": found})


class Section(BaseModel):
    """Base of every settings model: frozen, unknown keys are errors, numbers are finite."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        # Sections are validated as parts of the whole: only that is built, at the first use.
        defer_build=True,
    )


class CheckedSection(Section, ABC):
    """A section with rules between its keys; all that are broken are reported in one error."""

    @abstractmethod
    def _problems(self) -> Iterator[Problem]:
        """What is wrong with keys that are each valid for themselves."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if error := problems_error(self._problems()):
            raise error
        return self


def backoff_problems(base_seconds: float, max_seconds: float) -> Iterator[Problem]:
    """``backoff_base_seconds`` and ``backoff_max_seconds`` of a section, the wrong way round."""
    if base_seconds > max_seconds:
        yield Problem(
            ("backoff_base_seconds",),
            f"is {base_seconds:g} s: it must not exceed backoff_max_seconds ({max_seconds:g} s)",
        )


def invalid(text: str) -> PydanticCustomError:
    """A validation error whose message is ``text`` as it stands (braces are not templates)."""
    return PydanticCustomError("invalid", "{text}", {"text": text})


def _not_bool(value: Any) -> Any:
    # YAML reads yes, no, on and off as booleans, and pydantic would read those as 1 and 0.
    if isinstance(value, bool):
        raise invalid(f"must be a number, not {str(value).lower()}")
    return value


def _seconds(value: Any) -> Any:
    _not_bool(value)
    if not isinstance(value, str | int | float):
        return value
    try:
        return parse_seconds(str(value))
    except ValueError as error:
        raise invalid(str(error)) from None


def _bytes(value: Any) -> Any:
    _not_bool(value)
    if not isinstance(value, str):
        return value
    try:
        return parse_size_bytes(value)
    except ValueError as error:
        raise invalid(str(error)) from None


def url_checker(schemes: tuple[str, ...], hint: str) -> Callable[[str], str]:
    """A validator of URLs with one of ``schemes``; ``hint`` says where credentials belong.

    The trailing slash is removed, so that paths can be appended.
    """

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise invalid("is not a URL: its host or port is malformed") from None
        if parts.scheme not in schemes:
            wanted = " or ".join(f"{scheme}://" for scheme in schemes)
            raise invalid(f"must begin with {wanted}")
        # The URL itself is not shown: it may hold the password that it is refused for.
        if parts.password is not None or (parts.username and parts.scheme.startswith("http")):
            raise invalid(f"must not carry credentials: {hint}")
        if not host:
            raise invalid("must name a host")
        if parts.scheme.startswith("http") and (parts.query or parts.fragment):
            raise invalid("must not carry a query or a fragment")
        if any(ord(char) <= 32 or ord(char) == 127 for char in url):
            raise invalid("must not contain spaces or control characters")
        if host and "+" not in parts.scheme and not is_host(host):  # redis+sentinel has several
            raise invalid("names a host that is neither a host name nor an IP address")
        return url.rstrip("/") if parts.scheme.startswith("http") else url

    return check


def is_host(text: str) -> bool:
    """Whether ``text`` is an IP address, or could be a host's name."""
    if ":" in text or text.replace(".", "").isdigit():
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        try:
            # What is looked up later is read by the same rules: 0 and 127.1 are addresses.
            if family == socket.AF_INET:
                socket.inet_aton(text)
            else:
                socket.inet_pton(family, text.partition("%")[0])
        except OSError:
            return False
        return True
    try:
        encoded = text.encode("idna")
    except UnicodeError:  # a label that is empty, or longer than a name server can hold
        return False
    return re.fullmatch(rb"[A-Za-z0-9._-]+", encoded) is not None


def _host(text: str) -> str:
    if not is_host(text):
        raise invalid("must be an IP address or a host name")
    return text


def _output_path(path: str | None) -> str | None:
    """Refuse the path of a file that no process could ever write, wherever it runs."""
    if path is None:
        return None
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise invalid("must not hold line breaks or control characters")
    if os.path.isdir(path):
        raise invalid(f"names {path}, which is a directory")
    parent = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise invalid(f"names {path}, but {parent} is no directory")
    return path


def _flag(value: Any) -> Any:
    if not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
        raise invalid("must be true or false")
    return value


def _off_word(value: Any) -> Any:
    """YAML reads the word ``off`` as false."""
    return "off" if value is False else value


Seconds = Annotated[float, BeforeValidator(_seconds), Unit("duration")]
Bytes = Annotated[int, BeforeValidator(_bytes), Unit("size")]
Count = Annotated[int, BeforeValidator(_not_bool)]
Share = Annotated[float, BeforeValidator(_not_bool), Unit("share, 0 to 1")]
Host = Annotated[str, AfterValidator(_host)]
OutputPath = Annotated[str | None, AfterValidator(_output_path)]
Flag = Annotated[bool, BeforeValidator(_flag)]
AutoOrOff = Annotated[Literal["auto", "off"], BeforeValidator(_off_word)]
