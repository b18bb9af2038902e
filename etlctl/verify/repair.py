"""``etlctl verify --repair``: extract again what is missing or different, and prove it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from common.state.feeds import Range
from common.state.seals import windows_without_seal
from common.state.windows import WindowSet
from etlctl.connect import redis_of
from etlctl.history.again import Opened, chosen, first_whole_ms, lines, open_again
from etlctl.history.extract import wait
from services.verifier.run import Outcome
from services.verifier.sealed.windows import whole_windows
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

    They are widened to whole windows. Raises :class:`redis.exceptions.RedisError`,
    :class:`~common.errors.SourceError`, :class:`~common.errors.SinkError`, and
    :class:`~common.errors.EtlError` where a feed cannot be changed with this configuration.
    """
    if not differing:
        return []
    lowest_ms, settings = parts.source.oldest_ms(), parts.settings
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        windows = WindowSet(redis, keys)
        opened = []
        for plan in chosen(settings, differing, (parts.tier,)):
            name, first_ms = plan.feed.query, first_whole_ms(plan, lowest_ms)
            unsealed = windows_without_seal(redis, keys, plan.feed.name)
            wanted = whole_windows(parts.seals_of(name), differing[name], first_ms, unsealed)
            opened.append(open_again(windows, plan, wanted, lowest_ms))
        for line in lines(opened):
            say(line)
        if any(one.ranges for one in opened):
            wait(windows, opened, most_seconds, quiet=quiet)
    return opened
