"""Whether a token may read a bucket at all: an empty response alone does not tell.

InfluxDB 2 finds nothing in a bucket that the token may not read, and says so with 200 and an empty
result, as of a bucket without points. But it lists the buckets that may be read, as 1.x and 3 do.
"""

from __future__ import annotations

import json

STATEMENT = "SHOW DATABASES"


def hides(status: int, body: bytes, bucket: str) -> bool:
    """Whether the response to :data:`STATEMENT` says that the bucket cannot be read.

    False where it says nothing of the kind: an error, another form.
    """
    if status != 200:
        return False
    try:
        result = json.loads(body)["results"][0]
        if "error" in result:
            return False
        rows = [row for series in result.get("series") or () for row in series.get("values") or ()]
        return bucket not in {row[0] for row in rows}
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def hidden(bucket: str, where: str) -> str:
    """One sentence on it."""
    return f"{where} does not list {bucket} among what the token may read: empty proves nothing"
