"""The cost of a point as SVG: against the number of points, and side by side with other tools."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 52
_PARTS = {"tool": "#1f5fa8", "source": "#5b9a4b", "sink": "#b0561c"}
_BAR_LEFT, _BAR_RIGHT, _BAR_TOP, _BAR_STEP = 110, 180, 56, 34
# A bar so many times as long as the shortest is cut off.
_MOST_TIMES = 10
_COLOURS = {"stages + Redis": "#1f5fa8", "stages alone": "#b0561c"}


def cost_plot(cases: Sequence[dict[str, Any]]) -> str:
    """An SVG of CPU-seconds per million points over size, from the shape section's ``points``.

    Raises :class:`ValueError` when there are fewer than two sizes.
    """
    found = sorted(
        (case for case in cases if case["axis"] == "points"), key=lambda case: int(case["points"])
    )
    if len(found) < 2:
        raise ValueError("a plot needs two sizes at least")
    sizes = [int(case["points"]) for case in found]
    whole = [case["figures"]["cpu.etl"] for case in found]
    redis = [case["figures"]["cpu.redis"]["median"] for case in found]
    lines = {
        "stages + Redis": [spread["median"] for spread in whole],
        "stages alone": [w["median"] - r for w, r in zip(whole, redis, strict=True)],
    }
    top = _round_up(max(spread["max"] for spread in whole))
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: float) -> float:
        share = (math.log10(size) - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(cost: float) -> float:
        return _HEIGHT - _BOTTOM - cost / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>CPU-seconds per million points against the number of points</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for number in range(5):
        cost = top * number / 4
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(cost):.1f}" y2="{y(cost):.1f}" '
            'stroke="#ddd"/>'
        )
        parts.append(_label(_LEFT - 8, y(cost) + 4, f"{cost:.2g}", "end"))
    parts += [_label(x(size), _HEIGHT - _BOTTOM + 18, _power(size), "middle") for size in sizes]
    parts.append(_label(_WIDTH / 2, _HEIGHT - 10, "points drained (logarithmic)", "middle"))
    parts.append(_label(_LEFT, 16, "CPU-seconds per million points, median (bar: runs)", "start"))
    for size, spread in zip(sizes, whole, strict=True):
        parts.append(
            f'<line x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{y(spread["min"]):.1f}" '
            f'y2="{y(spread["max"]):.1f}" stroke="{_COLOURS["stages + Redis"]}" stroke-width="3" '
            'stroke-opacity="0.35"/>'
        )
    for number, (name, costs) in enumerate(lines.items()):
        points = [(x(size), y(cost)) for size, cost in zip(sizes, costs, strict=True)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        colour = _COLOURS[name]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in points
        ]
        left = _WIDTH - _RIGHT - 260 + 140 * number
        parts.append(
            f'<line x1="{left}" x2="{left + 20}" y1="28" y2="28" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        parts.append(_label(left + 26, 32, name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def peers_plot(contenders: Iterable[dict[str, Any]]) -> str:
    """An SVG with a bar for each tool: CPU-seconds of tool, source and sink per million points.

    A bar that would dwarf the others is cut off, with its length in words.
    """
    found = list(contenders)
    costs = [[float(one["figures"][f"cpu.{part}"]["median"]) for part in _PARTS] for one in found]
    totals = list(map(sum, costs))
    top = _round_up(max(total for total in totals if total <= _MOST_TIMES * min(totals)))
    height = _BAR_TOP + _BAR_STEP * len(found) + 30
    width = _WIDTH - _BAR_LEFT - _BAR_RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>CPU-seconds per million points of each tool, its source and its sink</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _label(8, 16, "CPU-seconds per million points, medians", "start"),
    ]
    for number, (name, colour) in enumerate(_PARTS.items()):
        left = 8 + 90 * number
        parts.append(f'<rect x="{left}" y="26" width="12" height="12" fill="{colour}"/>')
        parts.append(_label(left + 18, 36, name, "start"))
    for number in range(5):
        x = _BAR_LEFT + width * number / 4
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_BAR_TOP - 6}" y2="{height - 26}" '
            'stroke="#ddd"/>'
        )
        parts.append(_label(x, height - 10, f"{top * number / 4:.2g}", "middle"))
    for number, (one, taken) in enumerate(zip(found, costs, strict=True)):
        y, start = _BAR_TOP + _BAR_STEP * number, 0.0
        parts.append(_label(_BAR_LEFT - 8, y + 16, one["title"], "end"))
        for cost, colour in zip(taken, _PARTS.values(), strict=True):
            end = min(start + cost, top)
            parts.append(
                f'<rect x="{_BAR_LEFT + start / top * width:.1f}" y="{y}" '
                f'width="{(end - start) / top * width:.1f}" height="24" fill="{colour}"/>'
            )
            start = end
        rate = one["figures"]["points_per_second"]["median"] / 1e6
        cut = "cut off: " if sum(taken) > top else ""
        text = f"{cut}{sum(taken):.3g}, {rate:.2g} M/s"
        parts.append(_label(_BAR_LEFT + start / top * width + 6, y + 16, text, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'


def _power(size: int) -> str:
    exponent = int(math.log10(size))
    factor = size / 10**exponent
    power = f"10{str(exponent).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return power if factor == 1 else f"{factor:g}·{power}"


def _round_up(cost: float) -> float:
    """The next of 1, 2, 4, 6, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(cost))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= cost)
