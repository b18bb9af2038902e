"""Requests and responses: documents, ids, pages, and InfluxDB's errors with their status."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")

DEFAULT_PAGE, MAX_PAGE = 20, 100
STATUS_OF = {
    "internal error": 500,
    "not found": 404,
    "conflict": 422,
    "invalid": 400,
    "unprocessable entity": 422,
    "forbidden": 403,
    "unauthorized": 401,
    "method not allowed": 405,
}


class Refused(Exception):
    """InfluxDB's error: its code, which decides the status, and its message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Response:
    """Status, and a document or nothing."""

    status: int
    document: Any = None
    code: str = ""


def parse_id(text: Any) -> str:
    """An id as InfluxDB writes it: 16 hexadecimal digits, not all of them zero."""
    if not isinstance(text, str) or len(text) != 16:
        raise Refused("invalid", "id must have a length of 16 bytes")
    if not re.fullmatch("[0-9a-fA-F]{16}", text) or not int(text, 16):
        raise Refused("invalid", "invalid ID")
    return text.lower()


def read_document(body: bytes, what: str) -> Json:
    """A JSON object from a request's body."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Refused("invalid", f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise Refused("invalid", f"{what}: cannot unmarshal {type(document).__name__}")
    return document


def page_of(found: Sequence[T], query: Mapping[str, str]) -> Sequence[T]:
    """The part of ``found`` that ``limit`` and ``offset`` select."""
    numbers = {"limit": DEFAULT_PAGE, "offset": 0}
    for name in numbers:
        if name in query:
            try:
                numbers[name] = int(query[name])
            except ValueError:
                raise Refused("invalid", f"{name} is invalid") from None
    if not 1 <= numbers["limit"] <= MAX_PAGE:
        raise Refused("invalid", f"limit must be between 1 and {MAX_PAGE}")
    return found[numbers["offset"] : numbers["offset"] + numbers["limit"]]
