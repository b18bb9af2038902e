"""JSON of a server that is laid out in no known way: one clear error for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import EtlError

# What taking JSON apart can raise when it is not laid out as expected.
_ODD = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


@contextmanager
def known_shape(where: str, error: type[EtlError]) -> Iterator[None]:
    """Inside, JSON from ``where`` is taken apart; raises ``error`` if it has another shape."""
    try:
        yield
    except _ODD as odd:
        raise error(f"{where} sent JSON of an unknown shape: {odd!r:.200}") from None
