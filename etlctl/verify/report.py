"""``etlctl repair``: what a report of ``etlctl verify --json`` found is extracted again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError

from common.config import load_settings
from common.errors import ConfigError
from common.state.feeds import Range
from etlctl.options import AsJson, ConfigFile
from etlctl.output import print_json, remark
from etlctl.verify.command import WaitSeconds, show, verify_range
from etlctl.verify.present import as_json as outcome_json
from etlctl.verify.repair import open_and_wait
from services.verifier.wiring import connected


@dataclass(frozen=True, slots=True)
class Report:
    """What of the range ``(start_ms, end_ms]`` is to be extracted again, by query.

    ``queries``: all that were compared.
    """

    start_ms: int
    end_ms: int
    queries: Sequence[str]
    unloaded: Mapping[str, Sequence[Range]]


def read_report(file: Path) -> Report:
    """A report of ``etlctl verify --json``. Raises :class:`~common.errors.ConfigError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    try:
        found: Any = json.loads(text)
        unloaded = {
            str(one["query"]): [_range(bounds) for bounds in one["unloaded_ms"]]
            for one in found["queries"]
        }
        start_ms, end_ms = _range((found["from_ms"], found["to_ms"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{file}: is no report of `etlctl verify --json`") from None
    ranges = {query: ranges for query, ranges in unloaded.items() if ranges}
    return Report(start_ms, end_ms, list(unloaded), ranges)


def _range(bounds: Sequence[Any]) -> Range:
    start_ms, end_ms = bounds
    if type(start_ms) is not int or type(end_ms) is not int or not 0 <= start_ms < end_ms:
        raise ValueError
    return start_ms, end_ms


def repair(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="What `etlctl verify --json` printed.")
    ],
    wait_seconds: WaitSeconds = 600.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Extract again what a report of verify found missing or different.

    Then compares the range of the report once more, and ends as verify does.
    """
    found = read_report(report)
    settings = load_settings(config)

    def no_redis(error: RedisError) -> None:
        raise error

    with connected(settings, found.queries, no_redis) as parts:
        for note in parts.notes:
            remark(f"note: {note}")
        opened = open_and_wait(
            settings, parts.source, found.unloaded, wait_seconds, remark, quiet=as_json
        )
        outcome = verify_range(parts, found.start_ms, found.end_ms, {}, quiet=as_json)
    if as_json:
        print_json(outcome_json(outcome) | {"repaired": [asdict(one) for one in opened]})
    else:
        show(outcome)
    raise typer.Exit(outcome.exit_code(frozenset()))
