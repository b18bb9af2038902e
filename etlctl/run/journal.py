"""What ``etlctl run`` prints: a line for each event, the name of its process in front.

Lines go to stdout through a thread of their own: a terminal that was stopped holds nobody up.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from common.runtime.log_writer import stdout_handler

OURS = "run"
# Of a log line, what stands in columns; everything else follows as name=value.
_COLUMNS = ("timestamp", "level", "service", "event")
_NAME_CHARS, _LEVEL_CHARS = 11, 7
_DIM, _RESET = "\033[2m", "\033[0m"
_LEVEL_COLOURS = {"warning": "\033[33m", "error": "\033[31m", "critical": "\033[31m"}
_NAME_COLOURS = {
    "extractor": "\033[36m",
    "transformer": "\033[34m",
    "loader": "\033[32m",
    "verifier": "\033[35m",
}


class Journal:
    """Prints events as readable lines, or with ``as_json`` as one JSON object a line."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        colours: bool = False,
        handler: logging.Handler | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._as_json, self._colours, self._now = as_json, colours, now
        self._handler = handler or stdout_handler(sys.stdout)

    def say(self, text: str, level: str = "info") -> None:
        """An event of ours, in a sentence."""
        self._put(self._now_known(level, OURS, text))

    def line(self, name: str, raw: bytes) -> None:
        """A line that the process ``name`` wrote: a JSON object, or any text."""
        text = raw.decode("utf-8", "backslashreplace").rstrip()
        if not text:
            return
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and {"timestamp", "event"} <= found.keys():
            self._put({**found, "service": name})
        else:  # what a library or a server of another kind says
            self._put(self._now_known("info", name, text))

    def close(self) -> None:
        """Have everything written, but do not wait for ever."""
        self._handler.flush()

    def _now_known(self, level: str, name: str, text: str) -> dict[str, str]:
        moment = self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {"timestamp": moment, "level": level, "service": name, "event": text}

    def _put(self, event: Mapping[str, Any]) -> None:
        text = json.dumps(event) if self._as_json else readable(event, colours=self._colours)
        self._handler.emit(logging.makeLogRecord({"msg": text}))


def readable(event: Mapping[str, Any], *, colours: bool = False) -> str:
    """An event as one line: time (UTC), name, level unless it is info, event, name=value."""
    name, level = str(event["service"]), str(event.get("level", "info"))
    time = str(event["timestamp"])[11:19]
    shown_name, shown_level = name.ljust(_NAME_CHARS), level.ljust(_LEVEL_CHARS)
    fields = " ".join(
        f"{key}={_value(value)}"
        for key, value in event.items()
        if key not in _COLUMNS and value is not None
    )
    if level == "info":
        shown_level = " " * _LEVEL_CHARS
    if colours:
        time = f"{_DIM}{time}{_RESET}"
        shown_name = f"{_NAME_COLOURS.get(name, _DIM)}{shown_name}{_RESET}"
        if level in _LEVEL_COLOURS:
            shown_level = f"{_LEVEL_COLOURS[level]}{shown_level}{_RESET}"
        fields = f"{_DIM}{fields}{_RESET}" if fields else ""
    return " ".join((time, shown_name, shown_level, _plain(str(event["event"])), fields)).rstrip()


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    plain = text.isprintable() and text and not any(char in text for char in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
