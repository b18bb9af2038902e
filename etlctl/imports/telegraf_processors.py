"""Telegraf's processors that change tags or names, as relabel rules.

A processor is carried whole or not at all: a rule that does half of it would change series in a way
that nobody asked for. Telegraf's patterns match anywhere in a value and every time; a relabel rule
matches a whole value once. So only patterns between ``^`` and ``$`` are carried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from etlctl.imports.draft import Draft, Table

Rules = list[dict[str, Any]]
_NAME = "__name__"


class _NotCarried(Exception):
    """Why a processor has no counterpart."""


def carry_processors(processors: Table, draft: Draft) -> None:
    """Add the rules of the processors, in the order in which Telegraf runs them.

    TOML keeps the order of tables within a kind, not between kinds: where there are several, the
    reader is told.
    """
    kinds = processors.rest()
    carried = [kind for kind in kinds if kind in _CARRIED]
    if len(carried) > 1:
        draft.note(f"processors: {', '.join(carried)} are carried in this order: check it")
    for kind in kinds:
        for table in processors.tables(kind):
            carry = _CARRIED.get(kind)
            try:
                if carry is None:
                    raise _NotCarried("relabelling has no counterpart")
                rules = list(carry(table))
                if rest := table.rest():
                    raise _NotCarried(f"it has {', '.join(sorted(rest))}")
            except _NotCarried as reason:
                draft.note(f"{table.where}: not carried: {reason}")
            else:
                draft.relabel += rules


def _rename(table: Table) -> Iterator[dict[str, Any]]:
    for replace in table.tables("replace"):
        to = replace.text("dest")
        if measurement := replace.text("measurement"):
            yield _rule([_NAME], re.escape(measurement), _NAME, _literal(to))
        elif tag := replace.text("tag"):
            yield _rule([tag], "(.+)", to, "$1")
            yield {"action": "labeldrop", "regex": re.escape(tag)}
        else:
            raise _NotCarried(f"a field is renamed, {replace.text('field')}: here it is value")


def _strings(table: Table) -> Iterator[dict[str, Any]]:
    for action in ("lowercase", "uppercase"):
        for each in table.tables(action):
            name = _NAME if "measurement" in each else each.text("tag")
            if each.text("measurement", "*") != "*" or name in ("", "*") or each.rest() == ["dest"]:
                raise _NotCarried(f"{action} of something else than one tag or all names")
            yield {"source_labels": [name], "target_label": name, "action": action}


def _override(table: Table) -> Iterator[dict[str, Any]]:
    if name := table.text("name_override"):
        yield {"target_label": _NAME, "replacement": _literal(name)}
    before, after = table.text("name_prefix"), table.text("name_suffix")
    if before or after:
        yield _rule([_NAME], "(.+)", _NAME, _literal(before) + "${1}" + _literal(after))
    for tag, value in table.mapping("tags").items():
        yield {"target_label": tag, "replacement": _literal(value)}


def _regex(table: Table) -> Iterator[dict[str, Any]]:
    for each in table.tables("tags"):
        key, pattern = each.text("key"), each.text("pattern")
        target = each.text("result_key") or key
        if key in ("", "*"):
            raise _NotCarried("it changes every tag")
        yield _rule([key], _whole(pattern), target, each.text("replacement"))
        _nothing_left(each)
    for each in table.tables("metric_rename"):
        yield _rule([_NAME], _whole(each.text("pattern")), _NAME, each.text("replacement"))
        _nothing_left(each)


def _nothing_left(table: Table) -> None:
    if rest := table.rest():
        raise _NotCarried(f"{table.where} has {', '.join(sorted(rest))}")


def _whole(pattern: str) -> str:
    """What stands between ``^`` and ``$``. Raises :class:`_NotCarried` for what matches less."""
    inner = pattern[1:-1]
    open_at_end = pattern[-2:-1] == "\\" or not pattern.endswith("$")
    if not pattern.startswith("^") or open_at_end or _alternatives(inner):
        raise _NotCarried(f"{pattern} may match a part of a value: write ^…$")
    if re.fullmatch(r"(\(?\.\*\)?)*", inner):
        raise _NotCarried(f"{pattern} also matches series without the tag")
    return inner


def _alternatives(pattern: str) -> bool:
    """Whether ``pattern`` has a ``|`` outside of all groups: then ``^`` and ``$`` bind less."""
    depth, escaped, in_class = 0, False, False
    for character in pattern:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "|" and depth == 0:
            return True
        else:
            depth += (character == "(") - (character == ")")
    return False


def _rule(source: list[str], regex: str, target: str, replacement: str) -> dict[str, Any]:
    return {
        "source_labels": source,
        "regex": regex,
        "target_label": target,
        "replacement": replacement,
    }


def _literal(text: str) -> str:
    return text.replace("$", "$$")


_CARRIED = {"rename": _rename, "strings": _strings, "override": _override, "regex": _regex}
