"""Headers that every request to a server carries: as text, or each in a file of its own.

What a proxy or a store of several tenants wants to see (``X-Scope-OrgID``) may be a secret, so all
of them are treated as secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr, ValidationInfo

from common.config.fields import Problem, invalid, problems_error
from common.config.secrets import beside_configuration, is_read, not_for_headers
from common.secret_files import MASK, check_secret_mode, read_secret

# As RFC 9110 has a name (5.1).
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What the request itself says.
_OURS = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host "
    "keep-alive trailer transfer-encoding upgrade x-prometheus-remote-read-version".split()
)

_CREDENTIALS = frozenset(("authorization", "proxy-authorization"))

Validator = Callable[[Any, ValidationInfo], Any]


def header_texts(credentials: str) -> Validator:
    """A validator of names and values; ``credentials`` says where those of the server belong."""

    def check(headers: Any, info: ValidationInfo) -> Any:
        if not isinstance(headers, Mapping):
            raise invalid("must be a mapping of names and values")
        found = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in headers.items()
        }
        problems = [
            *_name_problems(found, credentials),
            *(Problem((str(name),), why) for name, value in found.items() if (why := _why(value))),
        ]
        if problem := problems_error(problems):
            raise problem
        return {name: SecretStr(value) for name, value in found.items()}

    return check


def header_files(section: str, credentials: str) -> Validator:
    """A validator of names and paths to files, each of which holds a value and nothing else."""

    def check(files: Any, info: ValidationInfo) -> Any:
        if not isinstance(files, Mapping):
            raise invalid("must be a mapping of names and files")
        problems = list(_name_problems(files, credentials))
        found = {}
        for name, path in files.items():
            if not isinstance(path, str) or not path:
                problems.append(Problem((str(name),), "must name a file"))
                continue
            found[name] = beside_configuration(path, info) or path
            try:
                if is_read(section, info):
                    read_header(found[name])
            except ValueError as error:
                problems.append(Problem((str(name),), str(error)))
        if problem := problems_error(problems):
            raise problem
        return found

    return check


def read_header(file: str) -> str:
    """The value in a file; raises :class:`ValueError`, naming the file and never the value."""
    check_secret_mode(file)
    value = read_secret(file)
    if why := _not_a_value(value):
        raise ValueError(f"names {file}, whose content {why}")
    return value


def given_twice(texts: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Headers that are given as text and as a file."""
    names = {name.lower() for name in texts}
    for name in files:
        if name.lower() in names:
            yield Problem(("header_files", name), "is given in headers, too: keep one of them")


def _name_problems(names: Mapping[Any, Any], credentials: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        place = (str(name),)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield Problem(place, "is no name of an HTTP header")
        elif name.lower() in _CREDENTIALS:
            yield Problem(place, f"is not set here: {credentials}")
        elif name.lower() in _OURS:
            yield Problem(place, "is a header that the request itself needs")
        elif name.lower() in seen:
            yield Problem(place, "is given twice: upper and lower case are the same")
        seen.add(str(name).lower())


def _why(value: Any) -> str | None:
    """What is wrong with a value, as the end of a sentence that does not show it."""
    if not isinstance(value, str):
        return "must be text: put it in quotes"
    if value == MASK:
        return "is masked: give the value itself, or a file in header_files"
    return _not_a_value(value)


def _not_a_value(text: str) -> str | None:
    if not text or text.strip() != text:
        return "must not be empty, nor begin or end with blanks"
    return not_for_headers(text)
