"""The log: one JSON object for each line, on stdout and, if asked for, in a rotated file.

structlog and the standard library's logging (redis, rq, urllib3) end in the same handlers. Secrets
are masked wherever they appear, in any field of any line.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Collection, Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog
from pydantic import SecretStr

from common.config import PipelineSettings
from common.config.effective import MASK
from common.errors import ConfigError

# Shorter ones would be found in innocent words.
MIN_MASKED_CHARS = 4
_FIRST = ("timestamp", "level", "service", "event")
# Libraries whose INFO is our DEBUG.
_TALKATIVE = ("rq", "rq.worker", "rq.scheduler", "rq.queue", "urllib3", "redis")


def configure_logging(
    service: str,
    pipeline: PipelineSettings,
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every log line of this process to ``stream`` (stdout) and ``pipeline.log_file``.

    Raises :class:`ConfigError` when the file cannot be written.
    """
    level = logging.getLevelName(pipeline.log_level)
    debug = level <= logging.DEBUG
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    clean = _Clean(service, secrets)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _name_exception,
            *([structlog.processors.format_exc_info] if debug else [_drop_traceback]),
            clean,
            structlog.processors.JSONRenderer(serializer=json.dumps),
        ],
    )
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stdout)]
    if pipeline.log_file is not None:
        handlers.append(_file_handler(service, pipeline))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if debug else max(level, logging.WARNING))
    # A full disk or a closed pipe must not end in a second error about the log itself.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_path(service: str, log_file: str) -> Path:
    """The path of a service's log file: ``{service}`` and ``{pid}`` are filled in."""
    return Path(log_file.replace("{service}", service).replace("{pid}", str(os.getpid())))


def _file_handler(service: str, pipeline: PipelineSettings) -> RotatingFileHandler:
    path = log_path(service, pipeline.log_file or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path,
            maxBytes=pipeline.log_file_max_bytes,
            backupCount=pipeline.log_file_backups,
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"pipeline.log_file: names {path}, which cannot be written: {why}"
        ) from None


def _name_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """An exception's type and text as fields of their own."""
    exc_info = event.get("exc_info")
    error = exc_info if isinstance(exc_info, BaseException) else None
    if exc_info is True:
        error = sys.exc_info()[1]
    elif isinstance(exc_info, tuple):
        error = exc_info[1]
    if error is not None:
        event.setdefault("error_type", type(error).__name__)
        event.setdefault("error", str(error))
    return event


def _drop_traceback(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Tracebacks are for DEBUG."""
    event.pop("exc_info", None)
    event.pop("stack_info", None)
    return event


class _Clean:
    """Puts the fixed fields first, and makes the rest JSON without secrets."""

    def __init__(self, service: str, secrets: Collection[str]) -> None:
        self._service = service
        self._secrets = tuple(secret for secret in secrets if len(secret) >= MIN_MASKED_CHARS)

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> dict[str, Any]:
        event["service"] = self._service
        first = {key: event.pop(key) for key in _FIRST if key in event}
        return {str(key): self._plain(value) for key, value in (first | dict(event)).items()}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, SecretStr):
            return MASK
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Mapping):
            return {self._text(str(key)): self._plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(item) for item in value]
        if isinstance(value, bytes):
            return self._text(value.decode(errors="backslashreplace"))
        return self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text
