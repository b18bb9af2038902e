"""The log: one JSON object for each line, on stdout and, if configured, in a rotated file.

Our events and the standard library's logging (redis, rq, urllib3) end in the same handlers. Secrets
are masked wherever they appear, in any field of any line. Nothing but the standard library is used,
so that a service with little memory writes the same log as all others.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partialmethod
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from common.errors import ConfigError
from common.runtime.events_table import EVENTS
from common.runtime.log_writer import stdout_handler
from common.secret_files import MASK

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Shorter ones would be found in innocent words.
MIN_MASKED_CHARS = 4
# Libraries whose INFO is our DEBUG.
_TALKATIVE = ("rq", "rq.worker", "rq.scheduler", "rq.queue", "urllib3", "redis")
_EVENTS_LOGGER = "etl"


class EventLog:
    """Writes events as lines of the log; a field ``exc_info`` is the exception to report."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger(_EVENTS_LOGGER)

    def emit(self, event: str, /, **fields: Any) -> None:
        """Write an event of the table; :class:`KeyError` if the table does not have it."""
        getattr(self, EVENTS[event].level)(event, **fields)

    def _write(self, level: int, event: str, /, **fields: Any) -> None:
        error = fields.pop("exc_info", None)
        self._logger.log(level, event, exc_info=error, extra={"fields": fields})

    debug = partialmethod(_write, logging.DEBUG)
    info = partialmethod(_write, logging.INFO)
    warning = partialmethod(_write, logging.WARNING)
    error = partialmethod(_write, logging.ERROR)
    critical = partialmethod(_write, logging.CRITICAL)


def configure_logging(
    service: str,
    level: str,
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
    file: logging.Handler | None = None,
) -> None:
    """Send every log line of this process to ``stream`` (stdout) and to ``file``.

    Nobody waits for who reads stdout.
    """
    number = getattr(logging, level)
    debug = number <= logging.DEBUG
    handlers: list[logging.Handler] = [
        stdout_handler(sys.stdout) if stream is None else logging.StreamHandler(stream)
    ]
    if file is not None:
        handlers.append(file)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    formatter = JsonFormatter(service, secrets, tracebacks=debug)
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(number)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if debug else max(number, logging.WARNING))
    # A full disk or a closed pipe must not end in a second error about the log itself.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def rotating_file(service: str, path: str, max_bytes: int, backups: int) -> RotatingFileHandler:
    """The log file of a service: ``{service}`` and ``{pid}`` in its path are filled in.

    Raises :class:`ConfigError` when the file cannot be written.
    """
    file = Path(path.replace("{service}", service).replace("{pid}", str(os.getpid())))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return PrivateRotatingFile(file, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"pipeline.log_file: names {file}, which cannot be written: {why}"
        ) from None


class PrivateRotatingFile(RotatingFileHandler):
    """Its files are 0640 at most: a log names queries, hosts and what others answered."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        return TextIOWrapper(
            open(descriptor, "ab"), encoding=self.encoding, errors=self.errors, newline=None
        )


class JsonFormatter(logging.Formatter):
    """A record as one line: the fixed fields first, the rest as JSON without secrets."""

    def __init__(
        self, service: str, secrets: Collection[str] = (), tracebacks: bool = True
    ) -> None:
        super().__init__()
        self._service = service
        self._secrets = tuple(secret for secret in secrets if len(secret) >= MIN_MASKED_CHARS)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line break."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["logger"] = record.name
        else:
            line |= fields
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line.setdefault("error_type", type(error).__name__)
            line.setdefault("error", str(error))
            if self._tracebacks:
                line["exception"] = "".join(traceback.format_exception(error)).rstrip()
        plain = {str(name): self._plain(value) for name, value in line.items()}
        # A secret may be a common word, as a tenant in a header is: names of ours stay legible.
        plain |= {name: line[name] for name in ("timestamp", "level", "service")}
        if fields is not None and line["event"].isidentifier():
            plain["event"] = line["event"]
        return json.dumps(plain)

    def _plain(self, value: Any) -> Any:
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
        # A SecretStr of pydantic's is masked by its own str().
        return self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text
