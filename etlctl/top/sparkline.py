"""A line of blocks for the last values of a figure."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_UNKNOWN = " "


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last ``width`` values, between 0 and the highest of them; unknown ones are blank."""
    last = values[-width:] if width > 0 else []
    highest = max((one for one in last if one is not None), default=0.0)
    return "".join(
        _UNKNOWN if one is None else _BLOCKS[_level(one, highest)] for one in last
    ).rjust(max(0, width))


def _level(value: float, highest: float) -> int:
    if highest <= 0:
        return 0
    return min(len(_BLOCKS) - 1, int(max(0.0, value) / highest * len(_BLOCKS)))
