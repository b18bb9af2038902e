"""What came late to the source, in windows that the pipeline is to compare with it again.

A window's recheck says what the source had of it when it was committed: how many samples and, for
an expression, a digest of them. What is missing in the sink is excused by a recount to come only
where the source has something else now. Where it still has the same, a missing point is a loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from common.promql.selector import CLASSIC_LABEL
from common.samples.columns import Samples
from common.samples.digest import Digest
from common.samples.rollup import Rollup
from common.state.windows import Recheck
from services.verifier.classic import as_classic
from services.verifier.compare import Difference
from services.verifier.explain import RECHECK_DUE, Allowance, Range
from services.verifier.source import Source, SourceSeries

if TYPE_CHECKING:
    from services.verifier.run import Subject

_SAFE_IN_HTML = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@dataclass(slots=True)
class Late:
    """Raw samples that came late, by number; ``ranges`` where other points are computed."""

    allowances: list[Allowance] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)


def late_in(
    source: Source,
    subject: Subject,
    recounts: Sequence[Recheck],
    differences: Sequence[Difference],
) -> Late:
    """What came late to those windows in which points are missing or differ.

    Raises a :class:`~common.errors.SourceError` when Prometheus cannot be reached.
    """
    times_ms = np.unique(
        np.concatenate(
            [c.timestamps_ms for one in differences for c in (one.missing, one.different)]
        )
    )
    late = Late()
    for recount in recounts:
        where = affected = Range(recount.start_ms, recount.end_ms)
        if subject.rollup:
            # The bucket after a late sample increases from it.
            affected = Range(where.start_ms, where.end_ms + _lead_in_ms(subject.rollup))
        first, last = np.searchsorted(times_ms, affected, side="right")
        if first == last:
            continue
        if subject.kind == "select":
            series = source.read_select(subject.text, *where)
            number = sum(len(one.values) + one.histograms for one in series) - recount.samples
            # What is gone from the source changes points that are computed from it.
            more = number if subject.rollup else max(number, 0)
            # Of a histogram that came late, any number of points may be missing.
            is_point = not (subject.classic and any(one.histograms for one in series))
            if subject.rollup is None and is_point:
                late.allowances.append(Allowance(RECHECK_DUE, where, more))
            elif more:
                late.ranges.append(affected)
        else:
            series = source.read_expr(subject.text, subject.step_ms, *where)
            if subject.classic:
                series = list(as_classic(series, subject.classic))
            if Digest(recount.samples, recount.digest) not in digests_of(series, subject.labels):
                late.ranges.append(affected)
    return late


def _lead_in_ms(rollup: Rollup) -> int:
    """How far after a sample a bucket may end that it is the first one before."""
    return -(-rollup.lead_in_ms // rollup.resolution_ms) * rollup.resolution_ms


def digests_of(
    series: Sequence[SourceSeries], added: Mapping[str, str] = MappingProxyType({})
) -> list[Digest]:
    """The extractor's digest of samples that were read by the other decoder.

    It is over label sets as the source wrote them, in one of two spellings: Go's, that is safe
    within HTML, or the plain one. Before them stands what the extractor has ``added``; sets that
    had a label of that name, or are of classic series, are written anew, plain.
    """
    digests = [Digest(), Digest()]
    for one in series:
        kept = {name: value for name, value in one.labels.items() if name not in added}
        text = _packed(kept)
        is_anew = len(kept) < len(one.labels) or CLASSIC_LABEL in kept
        of_go = text if is_anew else text.translate(_SAFE_IN_HTML)
        counts = np.array([len(one.values)])
        for digest, own in zip(digests, (text, of_go), strict=True):
            labels = own
            if added:
                labels = _packed(added)[:-1] + ("}" if own == "{}" else "," + own[1:])
            digest.add(Samples((labels.encode(),), counts, one.timestamps_ms, one.values))
            digest.samples += one.histograms
    return digests


def _packed(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"))
