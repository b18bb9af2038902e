"""Which bucket a series is written to, where a label says it (``load.bucket_from``).

The transformer puts the samples of one bucket into entries of their own, marked with the bucket's
name; so the loader need not look into them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from common.samples.line_names import escape_tag, map_key, map_value


def mark_of_bucket(name: str) -> int:
    """What entries for a bucket are marked with; 0 is no mark."""
    return zlib.crc32(name.encode()) or 1


class BucketOfKey:
    """The bucket for the value that a label has in a series key."""

    def __init__(self, label: str, buckets: Mapping[str, str]) -> None:
        self._tag = map_key(label)
        self._by_value = {map_value(value): bucket for value, bucket in buckets.items()}
        tag = f",{escape_tag(self._tag)}=".encode()
        # A comma behind a backslash is part of a text, and no text of ours ends in a backslash.
        self._value = re.compile(rb"(?<!\\)" + re.escape(tag) + rb"((?:\\.|[^\\, ])*)", re.DOTALL)
        self._buckets = {
            escape_tag(value).encode(): bucket for value, bucket in self._by_value.items()
        }

    def of_tags(self, tags: Mapping[str, str]) -> str | None:
        """That of a series with these tags, as a sink holds them; None as for a key."""
        return self._by_value.get(tags.get(self._tag, ""))

    def __call__(self, key: bytes) -> str | None:
        """None: the label has another value, or the series none of it. ``key`` may be a line."""
        found = self._value.search(key)
        return None if found is None else self._buckets.get(found[1])
