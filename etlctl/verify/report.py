"""``etlctl repair``: what a report of ``etlctl verify --json`` found is extracted again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError

from common.config import load_settings
from common.errors import ConfigError
from common.state.feeds import Range
from etlctl.history.again import Opened
from etlctl.options import AsJson, ConfigFile
from etlctl.output import print_json, remark
from etlctl.times import LATEST_MS
from etlctl.verify.command import WaitSeconds, show, verify_range
from etlctl.verify.present import as_json as outcome_json
from etlctl.verify.repair import open_and_wait
from services.verifier.outcome import Outcome
from services.verifier.verdict import EXIT_CODES, worst
from services.verifier.wiring import by_source, choose_tiers, connected


@dataclass(slots=True)
class TierReport:
    """What of the range ``(start_ms, end_ms]`` of a tier is to be extracted again, by query.

    ``begins_ms``: all queries that were compared, and after when.
    """

    start_ms: int
    end_ms: int
    begins_ms: dict[str, int] = field(default_factory=dict)
    unloaded: dict[str, Sequence[Range]] = field(default_factory=dict)


def read_report(file: Path) -> dict[str, TierReport]:
    """A report of ``etlctl verify --json``, by tier. Raises :class:`ConfigError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    try:
        found: Any = json.loads(text)
        tiers = {
            str(name): TierReport(*_range((of_tier["from_ms"], of_tier["to_ms"])))
            for name, of_tier in found["tiers"].items()
        }
        for one in found["queries"]:
            of_tier, query = tiers[one["tier"]], str(one["query"])
            begin_ms = of_tier.begins_ms[query] = one.get("from_ms", of_tier.start_ms)
            if type(begin_ms) is not int:
                raise ValueError
            if ranges := [_range(bounds) for bounds in one["unloaded_ms"]]:
                of_tier.unloaded[query] = ranges
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{file}: is no report of `etlctl verify --json`") from None
    if not tiers or not all(of_tier.begins_ms for of_tier in tiers.values()):
        raise ConfigError(f"{file}: nothing was compared")
    return tiers


def _range(bounds: Sequence[Any]) -> Range:
    start_ms, end_ms = bounds
    if type(start_ms) is not int or type(end_ms) is not int:
        raise ValueError
    if not 0 <= start_ms < end_ms <= LATEST_MS:
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
    """Extract again what verify found missing or different.

    The range of REPORT is compared once more then, and this ends as verify does.
    """
    found = read_report(report)
    settings = load_settings(config)

    def no_redis(error: RedisError) -> None:
        raise error

    outcomes: dict[str, Outcome] = {}
    opened: list[Opened] = []
    for name in choose_tiers(settings, found, ()):
        of_tier = found[name]
        for one_source in by_source(settings, of_tier.begins_ms):
            with connected(one_source, of_tier.begins_ms, no_redis, name) as parts:
                for note in parts.notes:
                    remark(f"note: {note}")
                names = {query.name for query in parts.queries}
                unloaded = {one: of for one, of in of_tier.unloaded.items() if one in names}
                opened += open_and_wait(parts, unloaded, wait_seconds, remark, quiet=as_json)
                bounds = of_tier.start_ms, of_tier.end_ms
                outcome = verify_range(parts, *bounds, of_tier.begins_ms, quiet=as_json)
                before = outcomes.get(name)
                outcomes[name] = before.with_source(outcome) if before else outcome
    if as_json:
        print_json(outcome_json(outcomes) | {"repaired": [asdict(one) for one in opened]})
    else:
        for shown, outcome in outcomes.items():
            show(outcome, shown if len(outcomes) > 1 else "")
    raise typer.Exit(EXIT_CODES[worst(outcome.verdict for outcome in outcomes.values())])
