"""Cases of the transform: samples that go in, and the lines and drops that must come out.

A file holds a list of them in YAML; docs/etlctl.md shows one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.config import Query, Settings
from common.durations import parse_duration_ms
from common.errors import ConfigError
from common.promql.selector import parse_selector
from common.samples.columns import Samples
from etlctl.once.transformed import transformed
from etlctl.times import parse_time

_KEYS = {"name", "query", "start", "interval", "now", "samples", "lines", "drops"}
_START = "2026-01-01T00:00:00Z"
_INTERVAL = "15s"
# Up to the value, the value, and the timestamp, if there is one; blanks of names are escaped.
_POINT = re.compile(r"(.*[^\\] (?:\\.|[^ \\])+=)([^ =]+)( -?\d+|)")


@dataclass(frozen=True)
class Case:
    """One case. ``series`` are label sets as JSON with the values of each, ``step_ms`` apart.

    ``lines`` are those that must be written; one without a timestamp fits any. ``drops`` are
    samples by reason.
    """

    where: str
    query: Query
    start_ms: int
    step_ms: int
    now_ms: int | None
    series: tuple[tuple[bytes, tuple[float, ...]], ...]
    lines: tuple[str, ...]
    drops: dict[str, int]

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples of the case, whatever the range: they are all of the query."""
        counts = np.array([len(values) for _, values in self.series], np.int64)
        times_ms = [self.start_ms + n * self.step_ms for count in counts for n in range(count)]
        values = [value for _, values in self.series for value in values]
        labels = tuple(labels for labels, _ in self.series)
        yield Samples(labels, counts, np.array(times_ms, np.int64), np.array(values, np.float64))

    @property
    def end_ms(self) -> int:
        """The time of the last value."""
        longest = max((len(values) for _, values in self.series), default=1)
        return self.start_ms + (longest - 1) * self.step_ms


def failures(case: Case, settings: Settings) -> list[str]:
    """What comes out otherwise than the case says, one sentence each; nothing where all is well."""
    now_ms = case.end_ms if case.now_ms is None else case.now_ms
    found = transformed(settings, case, case.query, case.start_ms - 1, case.end_ms, now_ms)
    said = [f"dead letter: {one.reason}: {one.detail}" for one in found.dead]
    left = Counter(map(_normal, found.lines()))
    for line in map(_normal, case.lines):
        match = line if line in left else next((one for one in left if _untimed(one) == line), "")
        if match:
            left -= Counter([match])
        else:
            said.append(f"not written: {line}")
    said += [f"written, but not expected: {line}" for line in left.elements()]
    for reason in sorted({*case.drops, *found.drops}):
        expected, dropped = case.drops.get(reason, 0), found.drops.get(reason, 0)
        if expected != dropped:
            rules = sorted({each.rule for each in found.dropped_series if each.reason == reason})
            by = f", by {'; '.join(rules)}" if any(rules) else ""
            said.append(f"dropped as {reason}: {dropped} samples{by}; expected {expected}")
    return said


def read_cases(file: Path, settings: Settings) -> list[Case]:
    """The cases of a file. Raises :class:`ConfigError` that names file, case and key."""
    try:
        text = file.read_text(encoding="utf-8")
        # All scalars as text: a number, a time or `yes` means what is written.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (it makes text alone)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file} is no YAML: {' '.join(str(error).split()):.200}") from None
    if not isinstance(document, list) or not document:
        raise ConfigError(f"{file} must be a list of cases, each with query and samples")
    queries = {query.name: query for query in settings.extract.queries}
    return [_case(found, f"{file}[{n}]", queries) for n, found in enumerate(document)]


def _case(found: Any, where: str, queries: dict[str, Query]) -> Case:
    if not isinstance(found, dict):
        raise ConfigError(f"{where} must be a mapping with query and samples")
    if unknown := sorted(map(str, set(found) - _KEYS)):
        known = ", ".join(sorted(_KEYS))
        raise ConfigError(f"{where}: unknown key {unknown[0]}: a case has {known}")
    texts = {key: found.get(key) or "" for key in ("name", "query", "start", "interval", "now")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ConfigError(f"{where}.{key} must be text")
    if texts["query"] not in queries:
        known = ", ".join(queries)
        raise ConfigError(f"{where}.query: no query is named {texts['query']!r}: there are {known}")
    where += f" ({texts['name']})" if texts["name"] else ""
    query = queries[texts["query"]]
    start_ms = _time_ms(texts["start"] or _START, f"{where}.start")
    try:
        step_ms = parse_duration_ms(texts["interval"] or _INTERVAL)
    except ValueError as error:
        raise ConfigError(f"{where}.interval: {error}") from None
    if step_ms <= 0:
        raise ConfigError(f"{where}.interval must be longer than 0")
    return Case(
        where,
        query,
        start_ms,
        step_ms,
        _time_ms(texts["now"], f"{where}.now") if texts["now"] else None,
        tuple(
            _series(each, f"{where}.samples[{number}]")
            for number, each in enumerate(_samples(found, where))
        ),
        tuple(_texts(found.get("lines") or [], f"{where}.lines")),
        _drops(found.get("drops") or {}, f"{where}.drops"),
    )


def _samples(found: dict[str, Any], where: str) -> list[Any]:
    samples = found.get("samples")
    if not isinstance(samples, list) or not samples:
        raise ConfigError(f"{where}.samples must be a list of series and values")
    return samples


def _series(found: Any, where: str) -> tuple[bytes, tuple[float, ...]]:
    if not isinstance(found, dict) or set(found) != {"series", "values"}:
        raise ConfigError(f"{where} must have series and values, and nothing else")
    if not isinstance(found["series"], str):
        raise ConfigError(f"{where}.series must be text")
    try:
        matchers = parse_selector(found["series"]).matchers
    except ConfigError as error:
        raise ConfigError(f"{where}.series: {error}") from None
    if any(matcher.operator != "=" for matcher in matchers):
        raise ConfigError(f"{where}.series: a series has its labels with = alone")
    labels = {matcher.label: matcher.value for matcher in matchers if matcher.value}
    written = found["values"] if isinstance(found["values"], list) else [found["values"]]
    try:
        values = tuple(float(value) for value in _texts(written, f"{where}.values"))
    except ValueError as error:
        raise ConfigError(f"{where}.values: {error}") from None
    return json.dumps(labels, ensure_ascii=False).encode(), values


def _texts(found: Any, where: str) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f"{where} must be a list of text")
    return found


def _drops(found: Any, where: str) -> dict[str, int]:
    if not isinstance(found, dict):
        raise ConfigError(f"{where} must be a mapping of reasons to counts of samples")
    for reason, count in found.items():
        if not isinstance(count, str) or not count.isdecimal():
            raise ConfigError(f"{where}.{reason} must be a whole number of samples")
    return {reason: int(count) for reason, count in found.items()}


def _time_ms(text: str, where: str) -> int:
    def no_now() -> int:
        raise ConfigError(f"{where}: {text!r} depends on when it is asked")

    try:
        return parse_time(text, no_now)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {error}") from None


def _normal(line: str) -> str:
    """The line with one text for each value: the transformer writes 1 as ``1`` or as ``1.0``."""
    found = _POINT.fullmatch(line.strip())
    try:
        return f"{found[1]}{float(found[2])!r}".removesuffix(".0") + found[3] if found else line
    except ValueError:
        return line


def _untimed(line: str) -> str:
    return line.rpartition(" ")[0]
