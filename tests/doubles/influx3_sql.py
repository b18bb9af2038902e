"""The SQL of InfluxDB 3, as far as it is asked, by SQLite over what a stand-in holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from tests.doubles.influx_engine import Bucket

_TYPES = {
    "tag": "Dictionary(Int32, Utf8)",
    "float": "Float64",
    "integer": "Int64",
    "string": "Utf8",
    "boolean": "Boolean",
}


def rows_of(database: Bucket, statement: str) -> list[dict[str, Any]]:
    """What is null is left out. Raises :class:`sqlite3.Error` for what cannot be executed."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("to_timestamp_nanos", 1, lambda number: number)
        connection.execute("ATTACH ':memory:' AS information_schema")
        connection.execute(
            "CREATE TABLE information_schema.columns "
            "(table_schema, table_name, column_name, data_type)"
        )
        for table in sorted({table for table, _ in database.types}):
            _fill(connection, table, database)
        cursor = connection.execute(statement)
        names = [one[0] for one in cursor.description]
        return [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in cursor
        ]


def _fill(connection: sqlite3.Connection, table: str, database: Bucket) -> None:
    columns = {column: type_ for (of, column), type_ in database.types.items() if of == table}
    schema = {"time": "Timestamp(Nanosecond, None)"} | {
        column: _TYPES[type_] for column, type_ in columns.items()
    }
    connection.executemany(
        "INSERT INTO information_schema.columns VALUES ('iox', ?, ?, ?)",
        [(table, column, type_) for column, type_ in schema.items()],
    )
    quoted = ['"' + name.replace('"', '""') + '"' for name in (table, *schema)]
    connection.execute(f"CREATE TABLE {quoted[0]} ({', '.join(quoted[1:])})")
    points: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (name, tags, field, at_ms), value in database.points.items():
        if name == table:
            points.setdefault((tags, at_ms), {})[field] = value
    marks = ", ".join("?" for _ in schema)
    connection.executemany(
        f"INSERT INTO {quoted[0]} VALUES ({marks})",
        [
            tuple(({"time": at_ms * 1_000_000} | dict(tags) | fields).get(one) for one in schema)
            for (tags, at_ms), fields in points.items()
        ],
    )
