"""Replacement templates as Go's ``regexp.Expand`` reads them.

Source of the rules: the documentation of ``Regexp.Expand``, https://pkg.go.dev/regexp#Regexp.Expand.
``$name`` takes the longest run of letters, digits and underscores, so ``$1x`` is the group *named*
``1x``, not group 1 followed by an x. A reference to a group that does not exist is empty, and a
dollar sign that begins no reference stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<bare>\w+))")
# Go reads longer numbers as names, and int() refuses thousands of digits.
_MAX_NUMBER_DIGITS = 9

Template = tuple[bytes | int, ...]


def parse_template(text: str, group_numbers: Mapping[str, int], groups: int) -> Template:
    """Split a template into literal bytes (UTF-8) and group numbers.

    ``group_numbers`` maps the names of the pattern's groups to their numbers, ``groups`` is how
    many groups it has beside the whole match (number 0). References to unknown groups are left
    out.
    """
    parts: list[bytes | int] = []
    position = 0
    while match := _REFERENCE.search(text, position):
        parts.append(text[position : match.start()].encode())
        name, position = _reference(match)
        if name is None:
            parts.append(b"$")
        elif (number := _group_number(name, group_numbers)) is not None and number <= groups:
            parts.append(number)
    parts.append(text[position:].encode())
    return tuple(part for part in parts if part != b"")


def expand(template: Template, text: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """The template filled with the groups of one match; a group that took no part is empty.

    ``spans`` are the byte offsets of every group in ``text``, (-1, -1) for one without a part.
    """
    filled = []
    for part in template:
        if isinstance(part, int):
            start, end = spans[part]
            filled.append(text[start:end] if start >= 0 else b"")
        else:
            filled.append(part)
    return b"".join(filled)


def _reference(match: re.Match[str]) -> tuple[str | None, int]:
    """The name that is referred to (None: it is a plain dollar), and where reading goes on."""
    if match["dollar"]:
        return None, match.end()
    name = match["braced"] or match["bare"]
    word = _leading_word(name)
    if word == name:
        return name, match.end()
    if match["braced"] or not word:
        return None, match.start() + 1
    return word, match.start() + 1 + len(word)


def _leading_word(name: str) -> str:
    # Python's \w also takes numbers that are no decimal digits (², ½); Go's names do not.
    for index, character in enumerate(name):
        if not (character == "_" or character.isalpha() or character.isdecimal()):
            return name[:index]
    return name


def _group_number(name: str, group_numbers: Mapping[str, int]) -> int | None:
    is_number = name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
    if is_number and len(name) <= _MAX_NUMBER_DIGITS:
        return int(name)
    return group_numbers.get(name)
