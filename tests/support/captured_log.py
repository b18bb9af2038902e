"""A log of the test's own, with its lines as they would be written."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Collection
from typing import Any

from common.runtime.logs import EventLog, JsonFormatter


class CapturedLog(EventLog):
    """An event log; ``lines`` are what was written so far."""

    def __init__(
        self, service: str = "test", level: str = "DEBUG", secrets: Collection[str] = ()
    ) -> None:
        logger = logging.Logger("captured", level)  # noqa: LOG001 (none that others could find)
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonFormatter(service, secrets))
        logger.addHandler(handler)
        super().__init__(logger)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]
