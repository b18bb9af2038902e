"""What makes an answer by remote read doubtful; whatever it is, the window is read by JSON instead.

Each text is a value of the label ``reason`` of ``etl_remote_read_fallbacks_total``.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    # No answer that could be read at all.
    "refused",
    "no_answer",
    "not_streamed",
    # It broke off, or what came is not what was sent.
    "broken_off",
    "frame",
    "checksum",
    # Samples that only JSON can be trusted with.
    "chunk_type",
    "chunk",
    "labels",
    "order",
    # The server had another configuration meanwhile.
    "reconfigured",
]


class Doubt(Exception):
    """An answer by remote read cannot be trusted: what was handed out of it must be discarded."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
