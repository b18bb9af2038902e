"""Overrides from the environment: ``ETL__LOAD__INFLUXDB__URL`` is ``load.influxdb.url``.

Lists and mappings are JSON. An empty variable is the same as none; ``null`` takes a key away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args

from pydantic import SecretStr

from common.config.fields import Path
from common.config.model import Settings
from common.config.text import shown

PREFIX = "ETL__"
DELIMITER = "__"
_SHOWN_CHARS = 120


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the environment sets, and which variable sets it."""

    data: dict[str, Any]
    names: dict[Path, str]

    def name(self, path: Path) -> str | None:
        """The variable that set ``path`` or a key above it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.names:
                return self.names[path[:end]]
        return None

    def name_below(self, path: Path) -> str | None:
        """A variable that set a key below ``path``, as if ``path`` were a mapping."""
        for place, name in self.names.items():
            if place[: len(path)] == path:
                return name
        return None


def read_environment(environ: Mapping[str, str]) -> Overrides:
    """The overrides in ``environ``; names are compared without regard to case."""
    data: dict[str, Any] = {}
    names: dict[Path, str] = {}
    found = [
        (tuple(name[len(PREFIX) :].lower().split(DELIMITER)), name, value)
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and value
    ]
    # Whole sections first: a variable for one of their keys goes before them.
    for path, name, value in sorted(found, key=lambda item: len(item[0])):
        names[path] = shown(name, _SHOWN_CHARS)
        _put(data, path, value if _is_text(path) and value != "null" else _decoded(value))
    return Overrides(data, names)


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *sections, key = path
    for section in sections:
        below = tree.setdefault(section, {})
        if not isinstance(below, dict):
            return  # validation says that it must be a mapping
        tree = below
    tree[key] = value


def _is_text(path: Path) -> bool:
    """Whether a key is text: a password that looks like JSON is a password all the same."""
    annotation: Any = Settings
    for part in path:
        field = getattr(annotation, "model_fields", {}).get(part)
        if field is None:
            return False
        annotation = field.annotation
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return str in kinds or SecretStr in kinds


def _decoded(value: str) -> Any:
    if value == "null":
        return None
    if not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        # Text such as [::1], or validation says what it wanted, and the report names the variable.
        return value
