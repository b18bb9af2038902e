"""What is asked of a measurement of few points: seals, watermarks and the like.

One question, written as InfluxQL, which 1.x, 2.x and 3 take, or as the SQL of InfluxDB 3.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

_DAY_NS = 86_400_000_000_000
_NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Select:
    """``columns`` of the points whose tags or texts are ``equal``, in ``(after_ms, until_ms]``.

    In the order of time, or the ``newest_first``; ``last_by``: the newest point for each value of
    these tags, without an order. ``lowest_by_day``: instead the lowest value of the only column on
    each day.
    """

    columns: tuple[str, ...]
    measurement: str
    equal: Mapping[str, str] = field(default_factory=dict)
    after_ms: int | None = None
    until_ms: int | None = None
    newest_first: bool = False
    limit: int | None = None
    last_by: tuple[str, ...] = ()
    lowest_by_day: bool = False

    def influxql(self) -> str:
        """The statement as InfluxQL."""
        columns = ", ".join(map(quote, self.columns))
        rest = ""
        if self.lowest_by_day:
            columns, rest = f"min({columns}) AS {columns}", " GROUP BY time(1d) fill(none)"
        elif self.last_by:
            first, *others = map(quote, self.columns)
            columns = ", ".join([f"last({first})", *others])
            rest = f" GROUP BY {', '.join(map(quote, self.last_by))}"
        else:
            rest = f" ORDER BY time{' DESC' if self.newest_first else ''}{self._limit()}"
        conditions = [f"{quote(name)} = {quote_text(text)}" for name, text in self.equal.items()]
        conditions += between(self.after_ms, self.until_ms)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {columns} FROM {quote(self.measurement)}{where}{rest}"

    def sql(self, known: Container[str]) -> str:
        """The statement as SQL, which refuses columns that the table does not have."""
        columns = [_column(name, known) for name in (*self.columns, *self.last_by)]
        conditions = [
            f"{name_of(name)} = {text_of(text)}" if name in known else "FALSE"
            for name, text in self.equal.items()
        ]
        conditions += between_sql(self.after_ms, self.until_ms)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        source = f"FROM {name_of(self.measurement)}{where}"
        if self.lowest_by_day:
            lowest = name_of(self.columns[0])
            return (
                f'SELECT "day" * 86400000 AS "time", min({lowest}) AS {lowest} FROM ('
                f'SELECT CAST("time" AS BIGINT) / {_DAY_NS} AS "day", {columns[0]} {source}'
                ') AS "found" GROUP BY "day"'
            )
        chosen = ", ".join([TIME_MS, *columns])
        if self.last_by:
            by = ", ".join(_value(name, known) for name in self.last_by)
            rank = f'row_number() OVER (PARTITION BY {by} ORDER BY "time" DESC) AS "{_NEWEST}"'
            return (
                f'SELECT * FROM (SELECT {chosen}, {rank} {source}) AS "found" WHERE "{_NEWEST}" = 1'
            )
        order = f'ORDER BY "time"{" DESC" if self.newest_first else ""}'
        return f"SELECT {chosen} {source} {order}{self._limit()}"

    def _limit(self) -> str:
        return "" if self.limit is None else f" LIMIT {self.limit}"


TIME_MS = 'CAST("time" AS BIGINT) / 1000000 AS "time"'


def between(after_ms: int | None, until_ms: int | None) -> list[str]:
    """Conditions of InfluxQL. Nanoseconds are the one time literal that every version takes."""
    found = [] if after_ms is None else [f"time > {after_ms * 1_000_000}"]
    return found if until_ms is None else [*found, f"time <= {until_ms * 1_000_000}"]


def between_sql(after_ms: int | None, until_ms: int | None) -> list[str]:
    """The same of SQL."""
    bounds = ((">", after_ms), ("<=", until_ms))
    return [
        f'"time" {operator} to_timestamp_nanos({at_ms * 1_000_000})'
        for operator, at_ms in bounds
        if at_ms is not None
    ]


def quote(identifier: str) -> str:
    """An InfluxQL identifier in double quotes."""
    escaped = identifier.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def quote_text(text: str) -> str:
    """An InfluxQL string in single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def name_of(identifier: str) -> str:
    """An identifier of SQL in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def text_of(text: str) -> str:
    """A string of SQL in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def _value(name: str, known: Container[str]) -> str:
    return name_of(name) if name in known else "NULL"


def _column(name: str, known: Container[str]) -> str:
    return name_of(name) if name in known else f"NULL AS {name_of(name)}"
