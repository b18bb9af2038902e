"""What Grafana's browser side does to a panel's targets before it sends them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from common.durations import parse_duration_ms

Options = Callable[[str, str], list[str]]

_LABEL_VALUES = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\)", re.DOTALL)
# What Grafana's own server fills in.
_BUILT_IN = r"\$__\w+"


def panels_of(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those of collapsed rows too, the rows themselves left out."""
    for panel in board["panels"]:
        yield from panel.get("panels", ()) if panel["type"] == "row" else (panel,)


def fill(text: str, values: Mapping[str, str]) -> str:
    """``$name`` and ``${name}`` replaced; raises :class:`ValueError` for one without a value."""
    for name, value in values.items():
        text = re.sub(rf"\$(?:{name}\b|{{{name}}})", value.replace("\\", r"\\"), text)
    if unknown := re.findall(r"\$\{?\w+", re.sub(_BUILT_IN, "", text)):
        raise ValueError(f"no value of {', '.join(unknown)}: {text}")
    return text


def values_of(board: Mapping[str, Any], options: Options) -> dict[str, str]:
    """What stands for each variable where All is chosen.

    ``options`` are the values of a label (second) of the series that a selector (first) matches.
    """
    values: dict[str, str] = {}
    for variable in board["templating"].get("list", ()):
        match = _LABEL_VALUES.fullmatch(variable["query"]["query"])
        assert match, variable["query"]
        found = options(fill(match[1] or "", values), match[2])
        values[variable["name"]] = variable.get("allValue") or _any_of(found)
    return values


def _any_of(found: list[str]) -> str:
    # Twice, because the text stands inside a string of PromQL.
    escaped = [re.escape(value).replace("\\", "\\\\") for value in found]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def queries_of(panel: Mapping[str, Any], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The panel's targets as ``/api/ds/query`` takes them."""
    minimum_ms = parse_duration_ms(panel["interval"]) if panel.get("interval") else 15_000
    return [
        {
            **target,
            "expr": fill(target["expr"], values),
            "intervalMs": minimum_ms,
            "maxDataPoints": 500,
            "utcOffsetSec": 0,
        }
        for target in panel.get("targets", ())
    ]


def has_value(result: Mapping[str, Any]) -> bool:
    """Whether a result of ``/api/ds/query`` holds any number."""
    for frame in result.get("frames", ()):
        for field, column in zip(frame["schema"]["fields"], frame["data"]["values"], strict=True):
            if field["type"] == "number" and any(value is not None for value in column):
                return True
    return False
