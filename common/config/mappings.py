"""Mappings of names of one's own to text: parameters of URLs, labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from common.config.fields import Problem, invalid, problems_error

# Keys of `extract` and `load.influxdb` whose values are text as written: `true` is no truth there,
# `1` no number.
TEXT_MAPPINGS = frozenset(("headers", "header_files", "params", "labels"))

_OWN_PARAMS = frozenset(
    ("query", "time", "start", "end", "step", "timeout", "match[]", "state", "limit")
)
_OWN_TOKEN_PARAMS = frozenset(("grant_type", "client_id", "client_secret", "scope"))
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The end of a sentence that says what is wrong; None if nothing.
Check = Callable[[str], str | None]


def _name_of_param(name: str) -> str | None:
    if not name or any(ord(char) <= 32 or ord(char) == 127 for char in name):
        return "is no name of a parameter"
    return "is set by each request itself" if name in _OWN_PARAMS else None


def _name_of_token_param(name: str) -> str | None:
    return "has a key of its own" if name in _OWN_TOKEN_PARAMS else None


def _name_of_label(name: str) -> str | None:
    if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
        return "is no name of a label that a series can be given"
    return None


def _value_of_label(value: str) -> str | None:
    return None if value else "is empty: a label without a value is none"


def _checked(
    given: Any, what: str, of_name: Check, of_value: Check = lambda value: None
) -> Mapping[str, str]:
    """``given``, if it is a mapping of names to text, each of which is well; values are not shown.

    Raises a validation error that names every key with a problem.
    """
    if not isinstance(given, Mapping):
        raise invalid(f"must be a mapping of {what} to text")
    if error := problems_error(_problems(given, of_name, of_value)):
        raise error
    return given


def _problems(given: Mapping[Any, Any], of_name: Check, of_value: Check) -> Iterator[Problem]:
    for name, value in given.items():
        place = (str(name),)
        if why := of_name(str(name)):
            yield Problem(place, why)
        elif not isinstance(value, str):
            yield Problem(place, "must be text: put it in quotes")
        elif why := of_value(value):
            yield Problem(place, why)


def _params(given: Any) -> Any:
    return _several(given, _name_of_param)


def _token_params(given: Any) -> Any:
    return _several(given, _name_of_token_param)


def _several(given: Any, of_name: Check) -> Any:
    """Each value as a tuple: a text, or a list of it."""
    if not isinstance(given, Mapping):
        raise invalid("must be a mapping of names to text")
    several = {
        name: tuple(value) if isinstance(value, list | tuple) else (value,)
        for name, value in given.items()
    }
    problems = [
        Problem((str(name),), why or "must be text, or a list of it: put it in quotes")
        for name, values in several.items()
        if (why := of_name(str(name)))
        or not values
        or not all(isinstance(value, str) for value in values)
    ]
    if error := problems_error(problems):
        raise error
    return several


def _labels(given: Any) -> Any:
    # In an order that does not depend on how they are written.
    return dict(sorted(_checked(given, "labels", _name_of_label, _value_of_label).items()))


FixedParams = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_params)]
TokenParams = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_token_params)]
FixedLabels = Annotated[dict[str, str], BeforeValidator(_labels)]
