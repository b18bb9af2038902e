"""Text that UTF-8 can hold: half of a surrogate pair is none.

YAML and JSON can spell such a half (``"\\ud800"``), and Python reads bytes of the environment that
are not UTF-8 as halves. Whatever encodes the text later would fail at it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from common.config.fields import Path

_HALF = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def joined(text: str) -> str:
    """``text`` with each surrogate pair as the one character that JSON spells by it."""
    if not _HALF.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def shown(text: str, limit_chars: int = 60) -> str:
    """``text`` as one line of a message can show it: without line breaks or halves, and short."""
    escaped = json.dumps(text)[1:-1]
    return escaped if len(escaped) <= limit_chars else f"{escaped[:limit_chars]}…"


def without_halves(value: Any, path: Path, problems: list[tuple[Path, str]]) -> Any:
    """A tree of settings in which all text is whole.

    Keys that are not are left out, and values are patched. ``problems`` is added path and sentence
    of each.
    """
    if isinstance(value, str):
        if half := _HALF.search(value):
            problems.append((path, _sentence(half)))
        return _HALF.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [without_halves(item, (*path, n), problems) for n, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        if half := _HALF.search(key):
            problems.append(((*path, key), _sentence(half)))
        else:
            kept[key] = without_halves(item, (*path, key), problems)
    return kept


def _sentence(half: re.Match[str]) -> str:
    return f"is not UTF-8 text: it holds {half[0]!r}"
