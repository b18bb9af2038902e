"""What a server's error to an InfluxQL query means."""

from __future__ import annotations


def query_error(error: object) -> str:
    """The error in the server's words, with both that ``database not found`` may mean.

    InfluxDB 2 says it to a token that may not read the bucket, too.
    """
    text = str(error)
    if "database not found" in text:
        text += " (there is none of that name to be read, or the token may not read it)"
    return text
