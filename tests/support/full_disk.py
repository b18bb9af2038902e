"""A real Redis whose disk gets full and has room again, without a disk of its own.

A limit on the size of files does what a full disk does: the write that crosses it is cut short, and
the next one fails.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError

from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until

_DEADLINE_SECONDS = 20.0


class FullDiskRedis(RedisServer):
    """redis-server that gets an error, instead of the signal SIGXFSZ, at the limit."""

    FILLING = "filling"  # the key that fills it

    def command(self) -> Sequence[str]:
        """As the shell's child: what it ignores stays ignored."""
        return ["/bin/sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *super().command()]

    @property
    def append_only_dir(self) -> Path:
        """The folder of the manifest."""
        return self.work_dir / "data" / "appendonlydir"

    @property
    def increments(self) -> Path:
        """The file that is appended to."""
        return max(self.append_only_dir.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)

    def limit_files(self, most_bytes: int) -> None:
        """No file can become larger than ``most_bytes``."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))

    def fill_disk(self, room_bytes: int = 300) -> None:
        """Write until Redis notices that there is no room; a command is cut short there."""
        self.limit_files(self.increments.stat().st_size + room_bytes)
        with self.client() as client:

            def is_noticed() -> bool:
                with contextlib.suppress(ResponseError):
                    client.set(self.FILLING, "x" * (room_bytes + 100))
                return self._write_status(client) == "err"

            wait_until(is_noticed, deadline_seconds=_DEADLINE_SECONDS, what="the disk is full")

    def make_room(self) -> None:
        """Lift the limit, and wait until Redis writes again."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))
        with self.client() as client:
            wait_until(
                lambda: self._write_status(client) == "ok",
                deadline_seconds=_DEADLINE_SECONDS,
                what="Redis writes again",
            )

    def await_rewrite(self) -> str:
        """How the rewrite that is under way ends: ``ok`` or ``err``."""
        with self.client() as client:

            def is_done() -> bool:
                info: Any = client.info("persistence")
                return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

            wait_until(is_done, deadline_seconds=_DEADLINE_SECONDS, what="the file is rewritten")
            info: Any = client.info("persistence")
            return str(info["aof_last_bgrewrite_status"])

    def _write_status(self, client: Any) -> str:
        return str(client.info("persistence")["aof_last_write_status"])
