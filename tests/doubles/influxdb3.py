"""A stand-in for InfluxDB 3 Core, held to what a real 3.5.0 answers.

A line is refused for itself and listed by its number, the others are written; a database is made by
the first write to it, an empty one too; what is older than its retention is taken and not there;
only the first gzip member is read; a body that cannot be read is a 500 on its own path and a 400 on
that of InfluxDB 2; nothing is answered without a token.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles import influx3_sql, influxql
from tests.doubles.influx_engine import Bucket, Engine, Point, Response, lines_of, parse
from tests.doubles.influxdb2 import Handler, InfluxDB2

EMPTY = "incoming write was empty"
_NS = 1_000_000_000
_COLUMN_TYPES = {float: "float", int: "integer", bool: "boolean", str: "string"}


class Engine3(Engine):
    """What InfluxDB 3 does with a write, at ``/api/v3/write_lp`` or at the path of 2."""

    max_tables = 2000
    max_databases = 5

    def __init__(self, *databases: str, **options: Any) -> None:
        super().__init__(*databases, **options)
        self.max_inflated_bytes = 10_485_760
        self.made_tokens: dict[str, str] = {}
        self.tells_retention = True  # a token of Enterprise may lack the right
        self.serves_influxql = True
        self.statements: list[str] = []  # of what is read, in InfluxQL or SQL

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the token; both schemes are taken."""
        sent = headers.get("Authorization", "")
        scheme, _, token = sent.partition(" ")
        return scheme in ("Token", "Bearer") and token in (self.token, *self.made_tokens.values())

    def write(self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Response:
        """The response to a write; without ``db`` it is one at the path of InfluxDB 2."""
        if not self.knows(headers):
            return 401, {}, b""
        unreadable, too_large = (500, 500) if "db" in query else (400, 413)
        if headers.get("Content-Encoding") == "gzip":
            inflater = zlib.decompressobj(wbits=31)
            try:
                body = inflater.decompress(body)  # the first member
            except zlib.error as error:
                return text(unreadable, f"error decoding gzip stream: {error}")
            if not inflater.eof:
                return text(unreadable, "error decoding gzip stream: unexpected end of file")
        limit = self.max_inflated_bytes
        if limit is not None and len(body) > limit:
            return text(too_large, f"max request size ({limit} bytes) exceeded")
        try:
            body.decode()
        except UnicodeDecodeError as error:
            return text(unreadable, f"body content is not valid utf8: {error}")
        name = query.get("db", query.get("bucket", ""))
        if name not in self.buckets and len(self.buckets) >= self.max_databases:
            message = f"Adding a new database would exceed limit of {self.max_databases} databases"
            return error_3(422, message)
        listed = "db" in query
        precision = {"millisecond": "ms", "ms": "ms"}.get(query.get("precision", ""), "ns")
        return self._take_3(name, body, precision, listed=listed)

    def _take_3(self, name: str, body: bytes, precision: str, *, listed: bool) -> Response:
        database = self.buckets.setdefault(name, Bucket())
        points, refused = [], []
        written = [line for line in lines_of(body) if line.strip() and not _is_comment(line)]
        for number, line in enumerate(written, 1):
            try:
                point = parse(line, int(self.clock() * 1000), precision)
                self._check(database, point)
            except ValueError as error:
                refused.append(
                    {
                        "original_line": line.decode(),
                        "line_number": number,
                        "error_message": str(error),
                    }
                )
            else:
                self._add(database, point)
                points.append(point)
        if not points and not refused:
            return text(400, EMPTY)
        if refused and not listed:
            message = "write buffer error: parsing for line protocol failed"
            return 400, {}, json.dumps({"code": "invalid", "message": message}).encode()
        self._keep_3(database, points)
        if not refused:
            return 204, {}, b""
        full = any("would exceed" in str(one["error_message"]) for one in refused)
        return error_3(422 if full else 400, "partial write of line protocol occurred", refused)

    def _check(self, database: Bucket, point: Point) -> None:
        tables = {measurement for measurement, _ in database.types}
        if point.measurement not in tables and len(tables) >= self.max_tables:
            raise ValueError(
                f"Update to schema would exceed number of tables limit of {self.max_tables} tables"
            )
        columns = [(key, "tag") for key, _ in point.tags]
        columns += [(key, _COLUMN_TYPES[type(value)]) for key, value in point.fields]
        types = dict(database.types)
        for column, type_ in columns:
            known = types.setdefault((point.measurement, column), type_)
            if known != type_:
                raise ValueError(
                    f"invalid column type for column '{column}', expected {known}, got {type_}"
                )

    def _add(self, database: Bucket, point: Point) -> None:
        for key, _ in point.tags:
            database.types[point.measurement, key] = "tag"
        for key, value in point.fields:
            database.types[point.measurement, key] = _COLUMN_TYPES[type(value)]

    def _keep_3(self, database: Bucket, points: list[Point]) -> None:
        for point in self._young(database, points):
            for name, value in point.fields:
                database.points[point.measurement, point.tags, name, point.time_ms] = value


class InfluxDB3(InfluxDB2):
    """The server, on a free port of loopback."""

    write_paths: tuple[str, ...] = ("/api/v3/write_lp", "/api/v2/write")

    @property
    def handler_class(self) -> type[Handler]:
        return Handler3


class Handler3(Handler):
    """What it answers beside writes."""

    def do_GET(self) -> None:
        engine = self.server_owner.engine
        assert isinstance(engine, Engine3)
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if not engine.knows(dict(self.headers.items())):
            self.reply((401, {}, b""))
        elif url.path == "/ping":
            document = {"version": "3.5.0", "revision": "0", "process_id": "0"}
            self.reply((200, {}, json.dumps(document).encode()))
        elif url.path == "/health":
            self.reply(text(200, "OK"))
        elif url.path == "/api/v3/query_sql" and not engine.tells_retention:
            self.reply(error_3(403, "the token has no permission for _internal"))
        elif url.path == "/api/v3/query_sql" and "system.tables" in query["q"]:
            columns = Counter(
                (name, table)
                for name, bucket in engine.buckets.items()
                for table, _ in bucket.types
            )
            widest = max(columns.values(), default=-1) + 1  # the time is one
            row = {"tables": len(columns), "columns": widest}
            self.reply((200, {}, json.dumps([row]).encode()))
        elif url.path == "/api/v3/query_sql":
            assert query["db"] == "_internal"
            rows = [_row(name, bucket) for name, bucket in engine.buckets.items()]
            self.reply((200, {}, json.dumps(rows).encode()))
        elif url.path == "/query" and engine.serves_influxql:
            self.reply(_influxql(engine, query))
        else:
            self.reply(text(404, "not found"))

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/v3/configure/"):
            self.reply(self._configure(path))
        elif path == "/query":
            self.reply(self._select())
        elif path == "/api/v3/query_sql":
            self.reply(self._sql())
        else:
            super().do_POST()

    def do_PUT(self) -> None:
        self.reply(self._configure(urlsplit(self.path).path))

    def _select(self) -> Response:
        """Fields of the named measurements between two times, as ``verify`` reads them."""
        engine = self.server_owner.engine
        assert isinstance(engine, Engine3)
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if not engine.knows(dict(self.headers.items())):
            return 401, {}, b""
        if not engine.serves_influxql:
            return text(404, "not found")
        if (database := engine.buckets.get(form["db"][0])) is None:
            return error_3(404, f"query error: database not found: {form['db'][0]}")
        statement = form["q"][0]
        engine.statements.append(statement)
        if statement.startswith("SHOW "):
            return _show(database, statement, engine.clock())
        sources, _, where = statement.partition(" WHERE ")
        names = set(re.findall(r'"([^"]+)"', sources.partition(" FROM ")[2]))
        fields = re.findall(r'"([^"]+)"::field', sources)
        named = set(re.findall(r"\"__name__\" = '([^']*)'", where))
        start, end = (int(one) // 1_000_000 for one in re.findall(r"time <?>?=? ?(\d+)", where))
        rows: dict[Any, dict[int, dict[str, Any]]] = {}
        for (name, tags, field, at_ms), value in sorted(database.points.items()):
            if named and dict(tags).get("__name__") not in named:
                continue
            if name in names and field in fields and start < at_ms <= end:
                rows.setdefault((name, tags), {}).setdefault(at_ms, {})[field] = value
        series = [
            {
                "name": name,
                "tags": dict(tags),
                "columns": ["time", *fields],
                "values": [[at_ms, *map(points[at_ms].get, fields)] for at_ms in sorted(points)],
            }
            for (name, tags), points in rows.items()
        ]
        return 200, {}, json.dumps({"results": [{"statement_id": 0, "series": series}]}).encode()

    def _sql(self) -> Response:
        engine = self.server_owner.engine
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(engine, Engine3) and document["format"] == "jsonl"
        if not engine.knows(dict(self.headers.items())):
            return 401, {}, b""
        if (database := engine.buckets.get(document["db"])) is None:
            return error_3(404, f"query error: database not found: {document['db']}")
        engine.statements.append(document["q"])
        try:
            rows = influx3_sql.rows_of(database, document["q"])
        except sqlite3.Error as error:
            return error_3(400, f"query error: {error}")
        return 200, {}, b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def _configure(self, path: str) -> Response:
        engine = self.server_owner.engine
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(engine, Engine3)
        if not engine.knows(dict(self.headers.items())):
            return 401, {}, b""
        if path == "/api/v3/configure/token/named_admin":
            engine.made_tokens[document["token_name"]] = token = f"apiv3_{len(engine.made_tokens)}"
            return 201, {}, json.dumps({"name": document["token_name"], "token": token}).encode()
        assert path == "/api/v3/configure/database"
        name, period = document["db"], document.get("retention_period")
        if (name in engine.buckets) == (self.command == "POST"):
            found = self.command == "POST"
            return text(409, "attempted to create a resource that already exists") if found else (
                text(404, "catalog entry not found")
            )  # fmt: skip
        seconds = None if period is None else float(period.removesuffix("s"))
        engine.buckets.setdefault(name, Bucket()).retention_seconds = seconds
        return 200, {}, b""


def _row(name: str, database: Bucket) -> dict[str, Any]:
    if database.retention_seconds is None:
        return {"database_name": name}
    return {
        "database_name": name,
        "retention_period_ns": int(database.retention_seconds * _NS),
    }


def _influxql(engine: Engine3, query: Mapping[str, str]) -> Response:
    database = engine.buckets.get(query["db"])
    if database is None:
        return error_3(404, f"query error: database not found: {query['db']}")
    if query["q"].startswith("SHOW "):
        return _show(database, query["q"], engine.clock())
    return influxql.select(database, query["q"])


def _show(database: Bucket, statement: str, now_seconds: float) -> Response:
    """Its schema; of tag values without a bound of time those of the last day alone."""
    types = sorted(database.types.items())
    tables: dict[str, list[list[str]]] = {}
    columns: list[str]
    if statement.startswith("SHOW MEASUREMENTS"):
        columns, tables["measurements"] = ["name"], [[name] for name in _tables(database)]
    elif statement.startswith("SHOW FIELD KEYS"):
        columns = ["fieldKey", "fieldType"]
        for (table, column), type_ in types:
            if type_ != "tag":
                tables.setdefault(table, []).append([column, type_])
    elif statement.startswith("SHOW TAG VALUES"):
        columns = ["key", "value"]
        table, key = re.findall(r'"([^"]+)"', statement)[:2]
        wanted = dict(re.findall(r"\"(\w+)\" = '([^']*)'", statement))
        since_ms = 0 if "time > " in statement else (now_seconds - 86_400) * 1000
        held = (dict(tags) for name, tags, _, at_ms in database.points if name == table
                if at_ms > since_ms)  # fmt: skip
        values = {tags[key] for tags in held if key in tags and wanted.items() <= tags.items()}
        tables[table] = [[key, value] for value in sorted(values)]
    else:
        return error_3(400, f"query error: not implemented: {statement}")
    return influxql.response(
        [
            {"name": name, "columns": columns, "values": rows}
            for name, rows in tables.items()
            if rows
        ]
    )


def _tables(database: Bucket) -> list[str]:
    return sorted({table for table, _ in database.types})


def _is_comment(line: bytes) -> bool:
    return line.lstrip().startswith(b"#")


def text(status: int, said: str) -> Response:
    return status, {"Content-Type": "text/plain"}, said.encode()


def error_3(status: int, message: str, data: Any = None) -> Response:
    document = {"error": message} if data is None else {"error": message, "data": data}
    return status, {}, json.dumps(document).encode()
