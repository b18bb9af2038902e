"""A second copy of dead letters, in a file: JSON lines, appended as they are settled.

The copy in Redis is the one that counts; the file is for those who keep evidence elsewhere. A line
has the members of a line of ``etlctl dead-letters export``, but for ``id``, which is Redis' own.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from common.errors import WireError
from common.runtime.telemetry import Telemetry
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from common.state.keys import feed_of
from common.state.verdict import DeadLetter, Entry


class DeadLetterMirror:
    """Appends dead letters to ``path``; several processes may share it.

    ``wall_clock`` gives seconds since the epoch. One that cannot be written is
    reported (``mirror_failed``) and stays in Redis all the same.
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        telemetry: Telemetry,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._stage = stage
        self._telemetry = telemetry
        self._wall_clock = wall_clock

    def append(self, entry: Entry, dead: DeadLetter) -> None:
        """Append one dead letter of ``entry``."""
        record: dict[str, str | int] = {
            "stage": self._stage,
            "reason": dead.reason,
            "detail": dead.detail,
            "query": entry.query,
            "tier": entry.tier,
            "kind": entry.kind,
            "feed": feed_of(entry.query, entry.tier),
            "window_id": entry.window_id,
            "entry_id": entry.id,
            "samples": dead.samples,
            "at_ms": int(self._wall_clock() * 1000),
            "measurement": dead.measurement,
        }
        try:
            record["payload"] = _text_of(dead).decode()
        except UnicodeDecodeError:
            record["payload_base64"] = base64.b64encode(dead.payload).decode()
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        try:
            # One write to a file opened for appending: lines of several processes do not mix.
            # No link: where others may write to the folder, it would lead where they like.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o640)
            try:
                if _is_torn(descriptor):
                    line = b"\n" + line
                written = os.write(descriptor, line)
                if written < len(line):
                    raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes fitted")
            finally:
                os.close(descriptor)
        except OSError as error:
            self._telemetry.emit("mirror_failed", path=str(self._path), error=str(error))


def _text_of(dead: DeadLetter) -> bytes:
    """Lines are inflated."""
    if dead.payload.startswith(GZIP_MAGIC):
        with suppress(WireError):
            return inflate(dead.payload, lines_bytes_max(dead.samples))
    return dead.payload


def _is_torn(descriptor: int) -> bool:
    """Whether the file ends in a dead letter that did not fit: it must not swallow the next one."""
    size_bytes = os.fstat(descriptor).st_size
    return size_bytes > 0 and os.pread(descriptor, 1, size_bytes - 1) != b"\n"
