"""Real servers as plain processes, for the demo and the integration tests."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with (step, None) when a step begins and (step, seconds) when it is done."""


def no_progress(step: str, seconds: float | None) -> None:
    """The progress callback of those who do not care."""
