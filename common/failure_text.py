"""What kept a request from its response, in plain words: below the layers of the HTTP libraries."""

from __future__ import annotations

import http.client
import re
import ssl
import zlib
from collections.abc import Iterator

import urllib3


def root_of(error: BaseException) -> BaseException:
    """The first cause, below the layers that requests and urllib3 put around it."""
    return list(_layers(error))[-1]


def plain_text(error: BaseException) -> str:
    """One readable line about the first cause of ``error``."""
    text = _text_of(root_of(error))
    through_proxy = any(isinstance(one, urllib3.exceptions.ProxyError) for one in _layers(error))
    return f"the proxy: {text}" if through_proxy else text


def _layers(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error not in seen:
        yield error
        seen.append(error)
        # Not __context__: it may be what our caller was handling.
        inside = [getattr(error, "reason", None), *error.args[:2], error.__cause__]
        error = next((cause for cause in inside if isinstance(cause, BaseException)), error)


def _text_of(error: BaseException) -> str:
    match error:
        case urllib3.exceptions.IncompleteRead(partial=int(got), expected=int(missing)):
            return f"it ended after {got} bytes, {missing} before its length"
        case http.client.IncompleteRead() | urllib3.exceptions.InvalidChunkLength():
            return "its chunked encoding is broken, or ends in the middle"
        case zlib.error():
            return "its compressed body is broken"
        case http.client.RemoteDisconnected():
            return "it closed the connection without a response"
        case http.client.BadStatusLine() | http.client.UnknownProtocol():
            return f"what answers does not speak HTTP: it sent {str(error).strip()[:100]!r}"
        case http.client.LineTooLong():
            return "the head of its response has a line of more than 64 KiB"
        case http.client.HTTPException() if "headers" in str(error):
            return "the head of its response has more than 100 lines"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return "what answers does not speak TLS (https)"
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    # urllib3 begins its messages with the object that they are about, OpenSSL ends them with a line
    # of its source.
    text = re.sub(r"^<?[\w.]+(?:\([^)]*\)| object at \w+>): ", "", text)
    text = re.sub(r"^\[[\w: ]+\] | \(_ssl\.c:\d+\)$", "", text)
    return " ".join(text.split()) or "the connection failed"
