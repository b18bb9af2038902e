"""Panels as one SVG: the same places, limits and colours as on the dashboard, drawn by hand.

It is no picture of Grafana: only what the panels' definitions and their data say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import log10

from devtools.screenshots.ask import Line
from monitoring.dashboards.spec import BYTES, COUNT, SECONDS, SHARE, WIDTH, PanelSpec
from monitoring.model import Limit

COLUMN, UNIT, GAP, HEADING = 50, 32, 8, 30
MOST_LINES = 6
_PALETTE = ("#1f5fa8", "#b0561c", "#1a6e33", "#7a3fa0", "#9a1b4b", "#4d5661")
_GOOD, _BAD, _PLAIN, _UNKNOWN = "#1a6e33", "#b3261e", "#1f5fa8", "#6b7480"
_NAMED = {"green": _GOOD, "red": _BAD, "blue": _PLAIN, "orange": "#b0561c", "yellow": "#a88600"}

Row = tuple[str, Sequence[tuple[PanelSpec, Limit | None, list[Line]]]]


def dashboard(title: str, rows: Sequence[Row]) -> str:
    """All rows, one below the other; each is a heading and panels with their limit and lines."""
    body: list[str] = []
    top = 40
    for heading, panels in rows:
        if heading:
            body.append(_text(GAP, top + 20, heading, size=15, weight="bold"))
            top += HEADING
        left = tallest = 0
        for spec, limit, lines in panels:
            if left + spec.width > WIDTH:
                left, top, tallest = 0, top + tallest * UNIT, 0
            body += _panel(spec, limit, lines, left * COLUMN, top)
            left, tallest = left + spec.width, max(tallest, spec.height)
        top += tallest * UNIT
    width, height = WIDTH * COLUMN, top + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            ' font-family="sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#eef1f4"/>',
            _text(GAP, 26, title, size=18, weight="bold"),
            *body,
            "</svg>\n",
        ]
    )


def _panel(
    spec: PanelSpec, limit: Limit | None, lines: list[Line], x: int, y: int
) -> Iterator[str]:
    width, height = spec.width * COLUMN - GAP, spec.height * UNIT - GAP
    yield f'<svg x="{x + GAP / 2:g}" y="{y}" width="{width}" height="{height}">'
    yield f'<rect width="{width}" height="{height}" rx="4" fill="#fff"/>'
    size = 13 if spec.width > 2 else 10
    yield _text(8, 17, spec.title, size=size, weight="bold")
    if spec.kind == "alerts":
        yield _text(8, 40, "Grafana's own list of alerts: not drawn here", colour=_UNKNOWN)
    elif not lines:
        yield _text(8, 40, "unknown", colour=_UNKNOWN)
    else:
        draw: Callable[..., Iterator[str]] = _KINDS[spec.kind]
        yield from draw(spec, limit, lines, width, height)
    yield "</svg>"


def _numbers(
    spec: PanelSpec, limit: Limit | None, lines: list[Line], width: int, height: int
) -> Iterator[str]:
    shown = lines[: max(1, (height - 24) // 20)]
    line_height = min(30, (height - 26) // len(shown))
    for index, line in enumerate(shown):
        value = line.points[-1][1]
        text, named = spec.values.get(int(value), ("", "")) if spec.values else ("", "")
        colour = _NAMED.get(named) or _judged(value, limit)
        top = 24 + index * line_height
        yield (
            f'<rect x="6" y="{top}" width="{width - 12}" height="{line_height - 3}" rx="3"'
            f' fill="{colour}"/>'
        )
        said = text or number(value, spec.unit)
        if len(lines) > 1:
            said = f"{line.legend}: {said}"
        yield _text(12, top + line_height / 2 + 3, said, colour="#fff", weight="bold")


def _lines(
    spec: PanelSpec, limit: Limit | None, lines: list[Line], width: int, height: int
) -> Iterator[str]:
    shown = sorted(lines, key=lambda line: -max(value for _, value in line.points))[:MOST_LINES]
    legend_rows = -(-len(shown) // 2) + (len(lines) > MOST_LINES)
    left, right, top, bottom = 46, width - 8, 28, height - 24 - 13 * legend_rows
    first = min(line.points[0][0] for line in shown)
    last = max(line.points[-1][0] for line in shown)
    highest = max(value for line in shown for _, value in line.points)
    if limit is not None and highest > limit.value / 5:
        highest = max(highest, limit.value * 1.2)
    highest = _round_up(highest)

    def place(at: float, value: float) -> str:
        across = left + (at - first) / max(1.0, last - first) * (right - left)
        return f"{across:.0f},{bottom - max(0.0, value) / highest * (bottom - top):.0f}"

    for share in (0.0, 0.5, 1.0):
        level = bottom - share * (bottom - top)
        yield f'<path d="M{left} {level:.0f}H{right}" stroke="#dde2e8"/>'
        # A suffix has no room here; the legend has it.
        unit = COUNT if spec.unit.startswith("suffix:") else spec.unit
        yield _text(left - 4, level + 4, number(highest * share, unit), size=10, anchor="end")
    if limit is not None and limit.value <= highest:
        level = bottom - limit.value / highest * (bottom - top)
        yield f'<path d="M{left} {level:.0f}H{right}" stroke="{_BAD}" stroke-dasharray="4 3"/>'
    for index, line in enumerate(shown):
        colour = _PALETTE[index % len(_PALETTE)]
        points = " ".join(place(*point) for point in line.points)
        if len(line.points) == 1:
            points += f" {points}"
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        column, row = index % 2, index // 2
        said = f"{line.legend} {number(line.points[-1][1], spec.unit)}"
        at = left + column * (right - left) / 2
        most = int((right - left) / 2 / 5.6)
        yield _text(at, bottom + 18 + 13 * row, said[:most], size=10, colour=colour)
    if len(lines) > MOST_LINES:
        rest = f"and {len(lines) - MOST_LINES} more"
        yield _text(left, bottom + 18 + 13 * (legend_rows - 1), rest, size=10)


def _shares(
    spec: PanelSpec, limit: Limit | None, lines: list[Line], width: int, height: int
) -> Iterator[str]:
    total = sum(line.points[-1][1] for line in lines) or 1
    shown = sorted(lines, key=lambda line: -line.points[-1][1])[: (height - 30) // 20]
    for index, line in enumerate(shown):
        share = line.points[-1][1] / total
        top = 26 + index * 20
        colour = _PALETTE[index % len(_PALETTE)]
        yield (
            f'<rect x="8" y="{top}" width="{max(1, share * (width - 16)):.0f}" height="16"'
            f' fill="{colour}" fill-opacity="0.25"/>'
        )
        yield _text(12, top + 12, f"{line.legend}: {number(line.points[-1][1], spec.unit)}")


def _timeline(
    spec: PanelSpec, limit: Limit | None, lines: list[Line], width: int, height: int
) -> Iterator[str]:
    left, right = 150, width - 8
    shown = lines[: max(1, (height - 50) // 13)]
    first = min(line.points[0][0] for line in shown)
    last = max(line.points[-1][0] for line in shown)
    used: dict[int, None] = {}
    for index, line in enumerate(shown):
        top = 26 + index * 13
        yield _text(left - 6, top + 9, line.legend[:24], size=10, anchor="end")
        runs: list[list[float]] = []
        for at, value in line.points:
            if not runs or runs[-1][2] != value:
                runs.append([at, at, value])
            runs[-1][1] = at
        for start, end, value in runs:
            used[int(value)] = None
            across = left + (start - first) / max(1.0, last - first) * (right - left)
            wide = max(2.0, (end - start) / max(1.0, last - first) * (right - left))
            yield (
                f'<rect x="{across:.0f}" y="{top}" width="{wide:.0f}" height="11"'
                f' fill="{_state(spec, value)}"/>'
            )
    at = 12.0
    for value in sorted(used):
        name = spec.values.get(value, (str(value), ""))[0]
        colour = _state(spec, value)
        yield f'<rect x="{at:g}" y="{height - 18}" width="9" height="9" fill="{colour}"/>'
        yield _text(at + 13, height - 9, name, size=10)
        at += 26 + 6 * len(name)


_KINDS = {
    "lines": _lines,
    "bars": _lines,
    "stat": _numbers,
    "pie": _shares,
    "timeline": _timeline,
}


def number(value: float, unit: str) -> str:
    """A value with its unit, as short as it can be read."""
    if unit == SECONDS:
        if value and abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 600 else f"{value / 60:.3g} min"
    if unit == SHARE:
        return f"{value * 100:.3g} %"
    base, names = (
        (1024, ("B", "KiB", "MiB", "GiB"))
        if "B" in unit or unit == BYTES
        else (
            1000,
            ("", "k", "M", "G"),
        )
    )
    size = 0
    while abs(value) >= base and size < len(names) - 1:
        value, size = value / base, size + 1
    suffix = unit.removeprefix("suffix:") if unit.startswith("suffix:") else ""
    return f"{value:.3g} {names[size]}".strip() + suffix


def _judged(value: float, limit: Limit | None) -> str:
    if limit is None:
        return _PLAIN
    bad = value > limit.value if limit.operator == ">" else value < limit.value
    return _BAD if bad else _GOOD


def _state(spec: PanelSpec, value: float) -> str:
    named = spec.values.get(int(value), ("", ""))[1]
    return _NAMED.get(named.replace("dark-", "").replace("light-", ""), "#c3cad2")


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** int(log10(value) - (value < 1))
    return float(next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value))


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    colour: str = "#1b1f24",
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )
