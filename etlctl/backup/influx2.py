"""InfluxDB 2.1 and newer: buckets with their shards, by its API for backups.

As in the sources: http/backup_service.go and http/restore_service.go of influxdata/influxdb (2.7),
clients/backup and clients/restore of influxdata/influx-cli. Of the metadata only the list of
buckets is kept: the rest of it holds every token of the server.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO
from urllib.parse import urlencode

import urllib3

from common.errors import SinkError
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession
from etlctl.backup.multipart import boundary_of, part_of
from etlctl.backup.parts import Moved, Saved, count_of

BUCKETS_FILE = "buckets.json"

_CHUNK_BYTES = 1 << 20
_MESSAGE_MAX_BYTES = 300
_TAR_BLOCK_BYTES = 512
_TAR_END = bytes(2 * _TAR_BLOCK_BYTES)

Bucket = dict[str, Any]


class Influx2:
    """Buckets of one organisation. ``session`` has an operator token."""

    name = "influxdb"

    def __init__(self, session: SinkSession, org: str, buckets: Sequence[str]) -> None:
        self._session = session
        self._org = org
        self._wanted = list(dict.fromkeys(buckets))

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Raises :class:`SinkError`, also where a bucket is missing."""
        there = self._buckets()
        missing = [name for name in self._wanted if name not in there]
        if missing:
            raise SinkError(f"organization {self._org} has no bucket {', '.join(missing)}")
        saved, number = [], 0
        for name in self._wanted:
            for group in _groups(bucket := there[name]):
                kept = [one for one in group["shards"] if self._save_shard(one, folder, moved)]
                group["shards"] = kept
                number += len(kept)
            saved.append(bucket)
        (folder / BUCKETS_FILE).write_text(json.dumps(saved, indent=2), encoding="utf-8")
        return Saved(f"{count_of(len(saved), 'bucket')}, {count_of(number, 'shard')}", {})

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Raises :class:`SinkError` where a bucket of the backup holds something."""
        del known
        self._org_id()
        there = self._buckets()
        for bucket in _read(folder):
            name = bucket["bucketName"]
            if name in there and any(group["shards"] for group in _groups(there[name])):
                raise SinkError(
                    f"bucket {name} of organization {self._org} is not empty: delete it if nothing "
                    "in it is needed, and see that nothing writes to it"
                )

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """Buckets are made anew, in place of empty ones; one that fails is removed again."""
        del known
        org_id, there, buckets = self._org_id(), self._buckets(), _read(folder)
        for bucket in buckets:
            name = bucket["bucketName"]
            if name in there:
                self._delete(there[name]["bucketID"])
            made = self._document(
                "POST",
                "/api/v2/restore/bucketMetadata",
                f"to restore bucket {name}",
                json.dumps({**bucket, "organizationID": org_id}).encode(),
            )
            try:
                ids = {int(one["oldId"]): int(one["newId"]) for one in made["shardMappings"]}
                for group in _groups(bucket):
                    for shard in group["shards"]:
                        self._restore_shard(_file(folder, shard), ids[int(shard["id"])], moved)
            except (KeyError, TypeError, ValueError):
                self._delete(made["id"])
                raise SinkError(f"InfluxDB says nothing of a shard of bucket {name}") from None
            except BaseException:
                self._delete(made["id"])
                raise
        return (
            f"{count_of(len(buckets), 'bucket')}; run `etlctl sink init` before the loader: its "
            "token does not know them"
        )

    def _save_shard(self, shard: Mapping[str, Any], folder: Path, moved: Moved) -> bool:
        """Whether the shard was still there: retention may have taken it meanwhile.

        influxd appends an error to an archive that it has begun with status 200.
        """
        which = int(shard["id"])
        with self._response(
            "GET", f"/api/v2/backup/shards/{which}", f"for shard {which}", or_404=True
        ) as response:
            if response.status == 404:
                return False
            size, end = 0, b""
            with _file(folder, shard).open("wb") as out:
                for chunk in response.stream(_CHUNK_BYTES):
                    out.write(chunk)
                    size, end = size + len(chunk), (end + chunk)[-len(_TAR_END) :]
                    moved(len(chunk))
        if size % _TAR_BLOCK_BYTES or end != _TAR_END:
            said = end[-_MESSAGE_MAX_BYTES:].replace(b"\0", b"").decode("utf-8", "replace")
            raise SinkError(
                f"InfluxDB at {self._session.url} sends shard {which} as an archive "
                f"of {size} bytes without its end: {' '.join(said.split())}"
            )
        return True

    def _restore_shard(self, file: Path, which: int, moved: Moved) -> None:
        with (
            file.open("rb") as body,
            self._response(
                "POST",
                f"/api/v2/restore/shards/{which}",
                f"to restore shard {which}",
                _chunks(body, moved),
                {
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(file.stat().st_size),
                },
            ),
        ):
            pass

    def _buckets(self) -> dict[str, Bucket]:
        """The organisation's buckets by name, with their shards."""
        with self._response("GET", "/api/v2/backup/metadata", "for its buckets") as response:
            boundary = boundary_of(response.headers.get("Content-Type", ""))
            found = boundary and part_of(response.stream(_CHUNK_BYTES), boundary, "buckets")
        try:
            return {
                one["bucketName"]: one
                for one in json.loads(found or b"")
                if one["organizationName"] == self._org
            }
        except (ValueError, LookupError, TypeError):
            raise SinkError(
                f"InfluxDB at {self._session.url} does not list its buckets for a backup"
            ) from None

    def _org_id(self) -> str:
        path = f"/api/v2/orgs?{urlencode({'org': self._org})}"
        found = self._document("GET", path, "for its organization", or_404=True)
        for one in found.get("orgs") or ():
            if one["name"] == self._org:
                return str(one["id"])
        raise SinkError(f"InfluxDB has no organization {self._org}: `etlctl sink init` makes it")

    def _delete(self, bucket_id: str) -> None:
        with self._response(
            "DELETE", f"/api/v2/buckets/{bucket_id}", "to delete a bucket", or_404=True
        ):
            pass

    def _document(
        self, method: str, path: str, what: str, body: bytes | None = None, *, or_404: bool = False
    ) -> Any:
        headers = {"Content-Type": "application/json"}
        with self._response(method, path, what, body, headers, or_404=or_404) as got:
            try:
                return json.loads(got.data)
            except ValueError:
                raise SinkError(f"InfluxDB answers a request {what} with no JSON") from None

    @contextmanager
    def _response(
        self,
        method: str,
        path: str,
        what: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        or_404: bool = False,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        session = self._session
        try:
            response = session.open(method, path, (), body, headers)
            try:
                if response.status >= 300 and not (or_404 and response.status == 404):
                    said = response.read(_MESSAGE_MAX_BYTES).decode("utf-8", "replace")
                    raise SinkError(
                        f"InfluxDB at {session.url} answers a request {what} with "
                        f"{response.status} {' '.join(said.split())}"
                        f"{after_status(session, response.status)}"
                    )
                yield response
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError) as error:
            why = no_response(session, error)
            raise SinkError(f"InfluxDB at {session.url}: a request {what} failed: {why}") from None


def _chunks(file: BinaryIO, moved: Moved) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        moved(len(chunk))


def _groups(bucket: Bucket) -> list[dict[str, Any]]:
    """Shard groups that are not deleted."""
    found = [
        group
        for policy in bucket["retentionPolicies"]
        for group in policy["shardGroups"] or ()
        if not group.get("deletedAt")
    ]
    for group in found:
        group["shards"] = group.get("shards") or []  # Go writes null for none
    return found


def _file(folder: Path, shard: Mapping[str, Any]) -> Path:
    return folder / f"shard-{int(shard['id'])}.tar"


def _read(folder: Path) -> list[Bucket]:
    try:
        found: list[Bucket] = json.loads((folder / BUCKETS_FILE).read_bytes())
        return found
    except (OSError, ValueError) as error:
        raise SinkError(f"{folder / BUCKETS_FILE}: cannot be read: {error}") from None
