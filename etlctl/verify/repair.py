"""``etlctl verify --repair``: extract again what is missing or different, and prove it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from common.state.feeds import Range
from common.state.windows import WindowSet
from etlctl.connect import redis_of
from etlctl.history.again import Opened, chosen, lines, open_again, whole
from etlctl.history.extract import wait
from services.extractor.windows import Plan
from services.verifier.outcome import Outcome
from services.verifier.wiring import Parts


def repair(
    parts: Parts,
    outcome: Outcome,
    most_seconds: float,
    say: Callable[[str], None],
    *,
    quiet: bool,
) -> list[Opened]:
    """Have what is missing or different without a reason extracted again.

    Points that are extra are left as they are. Raises what :func:`open_and_wait` raises.
    """
    differing = {one.query: one.unloaded.ranges for one in outcome.results if one.unloaded.ranges}
    return open_and_wait(parts, differing, most_seconds, say, quiet=quiet)


def open_and_wait(
    parts: Parts,
    differing: Mapping[str, Sequence[Range]],
    most_seconds: float,
    say: Callable[[str], None],
    *,
    quiet: bool,
) -> list[Opened]:
    """Put ranges, by query, back into the backlog, and wait until they are loaded.

    They are widened to whole windows, less what another replica would be read for than before.
    Raises :class:`redis.exceptions.RedisError`, :class:`~common.errors.SourceError`,
    :class:`~common.errors.SinkError`, and :class:`~common.errors.EtlError` where a feed cannot be
    changed with this configuration.
    """
    if not differing:
        return []
    lowest_ms, settings = parts.source.oldest_ms(), parts.settings
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        windows = WindowSet(redis, keys)
        wanted = [
            (plan, whole(windows, plan, parts.sink, differing[plan.feed.query], lowest_ms))
            for plan in chosen(settings, differing, (parts.tier,))
        ]
        opened = [
            open_again(windows, plan, ranges, lowest_ms, _closed(parts, plan))
            for plan, ranges in wanted
        ]
        for line in lines(opened):
            say(line)
        if any(one.ranges for one in opened):
            wait(windows, opened, most_seconds, quiet=quiet)
    return opened


def _closed(parts: Parts, plan: Plan) -> Sequence[Range]:
    """What of a feed must not be extracted again: samples of another replica would stand beside."""
    record, query = parts.read_from, plan.feed.query
    is_raw = plan.query.kind == "select" and plan.rollup is None
    return record.closed(query) if is_raw else record.gone(query)
