"""The newest sample of each series of a query, before and after the transform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from common.config import Query, Settings
from common.errors import ConfigError, QueryTooLarge
from common.promql.expression import LOOKBACK_MS
from common.samples.columns import Samples
from common.samples.series import SeriesEncoder
from etlctl.once.transformed import MAX_SAMPLES, transformed
from services.extractor.replicas import client_of


class _One:
    """Newest samples that are given once more."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples, whatever is asked for."""
        yield self._samples


def previewed(settings: Settings, query: Query, limit: int) -> dict[str, Any]:
    """``series`` and ``dropped`` (series by reason), and up to ``limit`` examples.

    Series with different fates come first: an example of each reason is worth more than ten lines
    that look alike. Raises :class:`~common.errors.SourceError`, and :class:`ConfigError` where the
    query has too many series to be shown.
    """
    extract = settings.of_source(query.source).extract
    extract = extract.model_copy(update={"max_window_samples": MAX_SAMPLES})
    with closing(client_of(extract)) as source:
        end_ms = source.now_ms()
        # Of raw samples as long as Prometheus itself looks for the newest one of a series.
        reach_ms = LOOKBACK_MS if query.step is None else round(2 * query.step * 1000)
        start_ms = end_ms - reach_ms
        try:
            newest = _newest(Samples.join(source.read(query, start_ms, end_ms)))
        except QueryTooLarge as error:
            problem = f"--query: {query.name}: {error}: it is too large to be shown"
            raise ConfigError(problem) from None
    whole = transformed(settings, _One(newest), query, start_ms, end_ms, end_ms)
    fates: dict[str, list[int]] = {}
    keys = SeriesEncoder.from_settings(settings).keys(query.kind, query.name, newest.series)
    for number, key in enumerate(keys):
        fates.setdefault("" if isinstance(key, bytes) else str(key), []).append(number)
    ends = newest.ends
    examples = []
    for number in _in_turn(list(fates.values()), limit):
        one = _One(newest.part(number, number + 1, ends))
        found = transformed(settings, one, query, start_ms, end_ms, end_ms)
        dead = found.dead[0].reason if found.dead else ""
        examples.append(
            {
                "series": newest.series[number].decode("utf-8", "replace"),
                "line": next(found.lines(), ""),
                "reason": next(iter(found.drops), dead),
                "rule": found.dropped_series[0].rule if found.dropped_series else "",
            }
        )
    dropped = dict(whole.drops)
    for each in whole.dead:
        dropped[each.reason] = dropped.get(each.reason, 0) + each.samples
    return {
        "query": query.name,
        "series": len(newest.series),
        "dropped": dropped,
        "examples": examples,
    }


def _newest(samples: Samples) -> Samples:
    """The last sample of each series; one that was read in parts has its last one in the last."""
    last = dict(zip(samples.series, (samples.ends - 1).tolist(), strict=True))
    wanted = np.zeros(len(samples), np.bool_)
    wanted[list(last.values())] = True
    return samples.where(wanted)


def _in_turn(fates: list[list[int]], limit: int) -> list[int]:
    """Up to ``limit``, one of each fate in turn."""
    taken: list[int] = []
    for turn in range(max(map(len, fates), default=0)):
        taken += [fate[turn] for fate in fates if turn < len(fate)]
        if len(taken) >= limit:
            break
    return taken[:limit]
