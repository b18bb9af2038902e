"""The cost of a point against the number of points, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 52
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
