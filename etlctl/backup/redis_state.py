"""The state in Redis: every key of the namespace, as DUMP writes it, as of one instant.

The stages must be stopped: state that changes all the time cannot be copied key by key. That nobody
else wrote meanwhile is proven by Redis: all keys are watched (WATCH), and the transaction at the
end is refused if one of them was written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ResponseError, WatchError

from common.errors import EtlError
from common.state.keys import Keys
from common.state.workers import SILENT_SECONDS, Workers
from etlctl.backup.parts import Moved, Saved, batched, count_of

FILE = "keys.bin"

# One key of the file: lengths of its name (without the namespace) and its value in bytes, and when
# it expires in ms since the epoch, -1 = never; then both.
_HEAD = struct.Struct("<IIq")
_ATTEMPTS = 3
_NAMES_AT_ONCE = 1_000
_KEYS_AT_ONCE = 32  # a payload may have 450 kB, and more


class RedisState:
    """The keys of one pipeline."""

    name = "redis"

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._prefix = f"{keys.namespace}:".encode()
        self._restoring = self._prefix + b"restoring:"
        self._workers = Workers(redis, keys)
        # What is only of processes that run: it would speak of those that ran then.
        self._not_state = {
            key.encode() for key in (keys.workers, keys.verify_lease, keys.seals_writer)
        }

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Raises :class:`EtlError` where a worker runs, or somebody writes meanwhile."""
        self._refuse_running()
        with (folder / FILE).open("wb") as out:
            for _ in range(_ATTEMPTS):
                out.seek(0)
                out.truncate()
                try:
                    number = self._save_keys(out, moved)
                except WatchError:
                    continue
                known = {"keys": number, "redis_version": self._version()}
                return Saved(count_of(number, "key"), known)
        raise EtlError(
            f"the keys {self._shown} in Redis are written all the time: stop what writes them"
        )

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Raises :class:`EtlError` where a worker runs or the namespace is not empty."""
        del folder, known
        self._refuse_running()
        self._refuse_used(self._names())

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """All keys appear in one step; until then they have other names, which a restore that was
        killed leaves behind for the next one to remove.
        """
        expire: dict[bytes, int] = {}
        self._forget_leftovers()
        try:
            with self._redis.pipeline(transaction=True) as watching:
                for one in _records(folder / FILE):
                    expire[one[0]] = one[2]
                if len(expire) != known.get("keys"):
                    raise EtlError(f"{folder / FILE}: does not hold the keys of its manifest")
                self._watch(watching, [self._prefix + name for name in expire])
                self._refuse_used(self._names())
                for some in batched(_records(folder / FILE), _KEYS_AT_ONCE):
                    self._write(some, known)
                    moved(sum(len(value) for _, value, _ in some))
                self._publish(watching, expire)
        finally:
            self._forget_leftovers()
        return count_of(len(expire), "key")

    def _save_keys(self, out: BinaryIO, moved: Moved) -> int:
        names = self._names()
        with self._redis.pipeline(transaction=True) as watching:
            self._watch(watching, names)
            if self._names() != names:
                raise WatchError
            for some in batched(names, _KEYS_AT_ONCE):
                moved(self._copy(some, out))
            if self._names() != names:
                raise WatchError
            watching.multi()
            watching.time()
            watching.execute()
        return len(names)

    def _copy(self, names: Sequence[bytes], out: BinaryIO) -> int:
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
                pipe.execute_command("PEXPIRETIME", name)  # type: ignore[no-untyped-call]
            replies: list[Any] = pipe.execute()
        written = 0
        for name, value, expires_ms in zip(names, replies[::2], replies[1::2], strict=True):
            if value is None:  # it expired
                raise WatchError
            short = name.removeprefix(self._prefix)
            out.write(_HEAD.pack(len(short), len(value), expires_ms) + short + value)
            written += len(value)
        return written

    def _write(self, records: Sequence[tuple[bytes, bytes, int]], known: Mapping[str, Any]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for name, value, _ in records:
                pipe.restore(self._restoring + name, 0, value)
            try:
                pipe.execute()
            except ResponseError as error:
                if "version or checksum" not in str(error):
                    raise
                raise EtlError(
                    f"Redis {self._version()} cannot read what Redis {known.get('redis_version')} "
                    "wrote: restore into that version or a newer one"
                ) from None

    def _publish(self, watching: Pipeline, expire: Mapping[bytes, int]) -> None:
        watching.multi()
        for name, expires_ms in expire.items():
            watching.renamenx(self._restoring + name, self._prefix + name)
            if expires_ms >= 0:
                watching.pexpireat(self._prefix + name, expires_ms)
        try:
            watching.execute()
        except WatchError:
            raise EtlError(
                f"the keys {self._shown} in Redis were written meanwhile: nothing was restored; "
                "stop what writes them"
            ) from None

    def _refuse_running(self) -> None:
        running = [report.worker for report in self._workers.alive()]
        if running:
            raise EtlError(
                f"the pipeline runs ({', '.join(running)}): stop extractor, transformer, loader "
                f"and verifier first; one that was killed counts for {SILENT_SECONDS:g} s"
            )

    def _refuse_used(self, names: Sequence[bytes]) -> None:
        if names:
            raise EtlError(
                f"Redis is not empty: it has {count_of(len(names), 'key')} {self._shown}, such as "
                f"{names[0].decode('utf-8', 'backslashreplace')}"
            )

    @property
    def _shown(self) -> str:
        return f"{self._prefix.decode()}*"

    def _names(self) -> list[bytes]:
        """The keys of the state, in the order of their names."""
        return sorted(
            name
            for name in self._scan(self._prefix)
            if name not in self._not_state and not name.startswith(self._restoring)
        )

    def _scan(self, prefix: bytes) -> set[bytes]:
        # A namespace has no character that means anything in a pattern.
        return set(self._redis.scan_iter(match=prefix + b"*", count=_NAMES_AT_ONCE))

    def _forget_leftovers(self) -> None:
        for some in batched(self._scan(self._restoring), _NAMES_AT_ONCE):
            self._redis.unlink(*some)

    def _version(self) -> str:
        info: Any = self._redis.info("server")
        return str(info.get("redis_version", ""))

    @staticmethod
    def _watch(watching: Pipeline, names: Sequence[bytes]) -> None:
        for some in batched(names, _NAMES_AT_ONCE):
            watching.watch(*some)  # type: ignore[no-untyped-call]


def _records(file: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Name without the namespace, value, expiry. Raises :class:`EtlError` for a file cut short."""
    with file.open("rb") as stream:
        while head := stream.read(_HEAD.size):
            if len(head) == _HEAD.size:
                name_bytes, value_bytes, expires_ms = _HEAD.unpack(head)
                both = stream.read(name_bytes + value_bytes)
                if len(both) == name_bytes + value_bytes:
                    yield both[:name_bytes], both[name_bytes:], expires_ms
                    continue
            raise EtlError(f"{file}: ends in the middle of a key")
