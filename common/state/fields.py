"""Reads text and numbers out of what Redis holds, which may be anything that somebody wrote."""

from __future__ import annotations


def text_of(value: bytes | None) -> str:
    """The text, whatever it takes to read it; empty where there is none."""
    return "" if value is None else value.decode("utf-8", "replace")


def count_of(value: bytes | None) -> int:
    """The whole number; 0 where there is none, or one that nothing of ours counts up to."""
    return int(value) if value and value.isdigit() and len(value) < 16 else 0
