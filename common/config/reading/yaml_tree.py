"""YAML read as a tree that remembers where each key stands, so that problems can name the line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from common.config.fields import Path
from common.config.text import joined, shown
from common.errors import ConfigError

# An alias is cheap to write and a tree to read: a file that unfolds to more than this is refused.
MAX_NODES = 50_000
MAX_BYTES = 4 << 20

_COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Located:
    """A document's data, the line (from 1) of each key and list item, and what is wrong with it."""

    data: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)
    problems: tuple[tuple[int, str], ...] = ()

    def line(self, path: Path) -> int | None:
        """The line of ``path``, or of the nearest key above it that the file has."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def read_yaml(
    text: str, name: str, as_written: Callable[[Path], bool] = lambda path: False
) -> Located:
    """Parse one YAML document whose top level is a mapping; an empty one is an empty mapping.

    A key without a value is left out: it means the same as no key. Scalars ``as_written`` are text,
    whatever they look like (``1``, ``true``), and empty text where they are null. Duplicate keys
    and keys that are not text are listed in ``problems``. Raises :class:`ConfigError` with file,
    line and column for what is not YAML.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Located({})
            if not isinstance(root, yaml.MappingNode):
                line = root.start_mark.line + 1
                raise ConfigError(f"{name}:{line}: must be a mapping of sections such as extract:")
            reader = _Reader(loader, as_written)
            data = reader.mapping(root, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}:{_where(error)}") from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply, or contains itself") from None
    except _TooLarge:
        raise ConfigError(f"{name}: unfolds to more than {MAX_NODES} values") from None
    return Located(data, reader.lines, tuple(reader.problems))


class _TooLarge(Exception):
    pass


class _Reader:
    def __init__(self, loader: yaml.SafeLoader, as_written: Callable[[Path], bool]) -> None:
        self.loader, self.as_written = loader, as_written
        self.lines: dict[Path, int] = {}
        self.problems: list[tuple[int, str]] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooLarge
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
            line = node.start_mark.line + 1
            self.problems.append(
                (line, f"{dotted(path)}: has the tag {node.tag!r:.60}: leave it out")
            )
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[*path, index] = item.start_mark.line + 1
                items.append(self.value(item, (*path, index)))
            return items
        # JSON is YAML but for this: PyYAML reads an escaped surrogate pair as two characters.
        node.value = joined(node.value)
        if self.as_written(path):
            return "" if node.tag == "tag:yaml.org,2002:null" else node.value
        try:
            return self.loader.construct_object(node)
        except (ValueError, OverflowError) as error:  # e.g. a date such as 2024-13-01
            why = f"{error!s:.200}"
        except (LookupError, AttributeError, TypeError):  # e.g. !!int "", !!bool x
            why = f"it is not what its tag {node.tag!r:.60} says"
        self.problems.append((node.start_mark.line + 1, f"{dotted(path)}: cannot be read: {why}"))
        return None

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = self._key(key_node, path), key_node.start_mark.line + 1
            if key in seen and key != "<<":
                text = f"{dotted((*path, key))}: is given twice, first in line {seen[key]}"
                self.problems.append((line, text))
            seen.setdefault(key, line)
        # "<<" keys come first after this, so that a mapping's own keys win over merged ones.
        self.loader.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path, report=False)
            self.lines[*path, key] = key_node.start_mark.line + 1
            value = self.value(value_node, (*path, key))
            if value is not None:
                data[key] = value
        return data

    def _key(self, node: yaml.Node, path: Path, report: bool = True) -> str:
        if isinstance(node, yaml.ScalarNode):
            if node.tag in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                return joined(node.value)
            key = joined(node.value)
        else:
            key = "a list or mapping"
        if report:
            line = node.start_mark.line + 1
            where = f"{dotted(path)}: " if path else ""
            self.problems.append(
                (line, f"{where}the key {shown(key)} is not text: put it in quotes")
            )
        return key


def dotted(path: Path) -> str:
    """``extract.queries[2].step``; a key that is not a plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = shown(part) if _PLAIN_KEY.fullmatch(part) else f'"{shown(part)}"'
        text += f".{key}" if text else key
    return text


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    text = f"{what} ({context})" if context else str(what)
    if mark is None:
        position = getattr(error, "position", None)
        return f" is not YAML: {text}" + (
            f" at character {position}" if position is not None else ""
        )
    return f"{mark.line + 1}:{mark.column + 1}: is not YAML: {text}"
