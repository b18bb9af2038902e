"""What no sender should send again."""

from __future__ import annotations


class BadRequest(ValueError):
    """A request that is malformed or too large; the message says why, as a sentence."""
