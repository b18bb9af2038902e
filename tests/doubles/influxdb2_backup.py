"""A stand-in for InfluxDB 2's API for backups, where no real one can be run.

It answers as http/backup_service.go, http/restore_service.go and storage/engine.go of the 2.7
branch say: the metadata is multipart with the key-value store, the SQL store and the buckets; a
restored bucket must not exist, and gets new ids for itself and its shards.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "operator-token"
BOUNDARY = "6c1d1f4a"
# What must never get into a backup.
SECRET = b"loaders-own-token"


@dataclass
class Store:
    """``shards`` by id. ``fail`` names requests (``POST /api/v2/…``) and their status."""

    org: str = "monitoring"
    buckets: list[dict[str, Any]] = field(default_factory=list)
    shards: dict[int, bytes] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    version: str = "v2.7.12"
    next_id: int = 100

    def add_bucket(self, name: str, shards: dict[int, bytes]) -> None:
        """A bucket with a shard group for each shard, and one that retention deleted."""
        self.shards |= shards
        self.buckets.append(
            {
                "organizationID": "0000000000000001",
                "organizationName": self.org,
                "bucketID": f"{self.taken():016x}",
                "bucketName": name,
                "defaultRetentionPolicy": "autogen",
                "retentionPolicies": [
                    {
                        "name": "autogen",
                        "replicaN": 1,
                        "duration": 3_600_000_000_000,
                        "shardGroupDuration": 3_600_000_000_000,
                        "shardGroups": [
                            _group(1, 999) | {"deletedAt": "2026-01-01T00:00:00Z"},
                            *(_group(which, which) for which in shards),
                        ],
                        "subscriptions": None,
                    }
                ],
            }
        )

    def taken(self) -> int:
        """An id that nothing has."""
        self.next_id += 1
        return self.next_id

    def data(self, name: str) -> list[bytes]:
        """What the shards of a bucket hold."""
        (bucket,) = (one for one in self.buckets if one["bucketName"] == name)
        return [
            self.shards[shard["id"]]
            for group in bucket["retentionPolicies"][0]["shardGroups"]
            if not group.get("deletedAt")
            for shard in group["shards"]
        ]

    def restore_bucket(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """The ids that it got; None where the bucket exists."""
        if any(one["bucketName"] == document["bucketName"] for one in self.buckets):
            return None
        assert document["organizationID"] == "0000000000000007"
        mappings = []
        for group in document["retentionPolicies"][0]["shardGroups"]:
            for shard in group["shards"]:
                mappings.append({"oldId": shard["id"], "newId": self.taken()})
                shard["id"] = mappings[-1]["newId"]
        document["bucketID"] = f"{self.taken():016x}"
        self.buckets.append(document)
        return {
            "id": document["bucketID"],
            "name": document["bucketName"],
            "shardMappings": mappings,
        }


def _group(which: int, shard: int) -> dict[str, Any]:
    return {
        "id": which,
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T01:00:00Z",
        "shards": [{"id": shard, "shardOwners": []}],
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        status, kind, answer = self._answer(url.path, parse_qs(url.query), body)
        self.send_response(status)
        self.send_header("X-Influxdb-Version", self.store.version)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer if status != 204 else b"")

    def _answer(
        self, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, str, bytes]:
        store, text = self.store, "application/json"
        request = f"{self.command} {path}"
        if request == "GET /ping":
            return 204, text, b""
        if self.headers.get("Authorization") != f"Token {TOKEN}":
            return 401, text, _refusal("unauthorized", "unauthorized access")
        if request in store.fail:
            return store.fail[request], text, _refusal("internal error", "it failed")
        if request == "GET /api/v2/orgs":
            found = query["org"] == [store.org]
            document = {"orgs": [{"id": "0000000000000007", "name": store.org}]}
            return (200, text, json.dumps(document).encode()) if found else _not_found("org")
        if request == "GET /api/v2/backup/metadata":
            return 200, f"multipart/mixed; boundary={BOUNDARY}", _metadata(store)
        if match := re.fullmatch(r"GET /api/v2/backup/shards/(\d+)", request):
            shard = store.shards.get(int(match[1]))
            return _not_found("shard") if shard is None else (200, "application/x", shard)
        if request == "POST /api/v2/restore/bucketMetadata":
            made = store.restore_bucket(json.loads(body))
            if made is None:
                return 422, text, _refusal("conflict", "bucket already exists")
            return 201, text, json.dumps(made).encode()
        if match := re.fullmatch(r"POST /api/v2/restore/shards/(\d+)", request):
            store.shards[int(match[1])] = body
            return 200, text, b""
        if match := re.fullmatch(r"DELETE /api/v2/buckets/(\w+)", request):
            store.buckets = [one for one in store.buckets if one["bucketID"] != match[1]]
            return 204, text, b""
        return _not_found("path")

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def _metadata(store: Store) -> bytes:
    parts = {
        "kv": b"bolt " + SECRET * 50_000,
        "sql": b"sqlite",
        "buckets": json.dumps(store.buckets).encode(),
    }
    return (
        b"".join(
            f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="{name}"\r\n\r\n'.encode()
            + content
            + b"\r\n"
            for name, content in parts.items()
        )
        + f"--{BOUNDARY}--\r\n".encode()
    )


def _refusal(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


def _not_found(what: str) -> tuple[int, str, bytes]:
    return 404, "application/json", _refusal("not found", f"{what} not found")


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """The base URL of a server for ``store``."""

    class Handler(_Handler):
        pass

    Handler.store = store
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
