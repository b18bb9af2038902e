"""One query: a PromQL expression evaluated on a grid, or a selector whose raw samples are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr

from common.config.fields import CheckedSection, Problem, Seconds, Unit
from common.errors import ConfigError
from common.promql.expression import ahead_ms, depends_on_window
from common.promql.selector import (
    CLASSIC_SUFFIXES,
    Selector,
    check_expression,
    parse_selector,
)
from common.samples.rollup import Rollup

# Those of common.samples.rollup, which says what they are.
Aggregate = Literal["avg", "min", "max", "sum", "count", "first", "last", "stddev", "increase"]
TierName = Literal["hot", "warm", "cold"]
# Of counters alone: what an `expr` gives is none.
INCREASE = "increase"

# A colon as in the names of recording rules.
NAME_PATTERN = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"
# A point of the loader shows whether it may read what it writes.
READ_CHECK = "etl_read_check"
# The loader keeps its watermarks, the seals of windows and what was in force in the sink, too.
RESERVED_NAMES = frozenset({"etl_loaded_watermark", "etl_seal", "etl_configuration", READ_CHECK})
DEFAULT_ALIGNMENT_SECONDS = 15.0
# How long samples settle where neither the configuration nor the source says.
UNKNOWN_SETTLE_SECONDS = 30.0


class Query(CheckedSection):
    """What is extracted under one name: exactly one of ``expr`` and ``select``."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=100,
        description="Name of the query; the measurement that an `expr` is written to.",
    )
    expr: str | None = Field(
        None,
        min_length=1,
        max_length=65_536,
        description="PromQL expression, evaluated at every multiple of `step`.",
    )
    select: str | None = Field(
        None,
        min_length=1,
        max_length=65_536,
        description="Vector selector whose raw samples are read with their own timestamps; "
        "the measurement is the metric's name.",
    )
    step: Seconds | None = Field(
        None,
        gt=0,
        description="Distance of the points of an `expr`, required there; raw samples have none.",
    )
    settle_seconds: Annotated[Seconds | None, Unit("duration")] = Field(
        None,
        ge=0,
        description="Age that samples of this query must have before they are extracted; "
        "none = `extract.settle_seconds`. A negative offset of an `expr` is added.",
    )
    initial_lookback_seconds: Annotated[Seconds | None, Unit("duration")] = Field(
        None,
        ge=0,
        description="How far before its first start this query begins; none = "
        "`extract.initial_lookback_seconds`.",
    )
    interval_seconds: Annotated[Seconds | None, Unit("duration")] = Field(
        None,
        ge=1,
        le=86_400,
        description="How often new windows of this query are planned; none = "
        "`pipeline.interval_seconds`, of an `expr` its step if that is longer.",
    )
    native_histograms: Literal["drop", "classic"] = Field(
        "drop",
        description="What becomes of native histograms: `drop` counts them as dropped, `classic` "
        "writes them as the series of a classic histogram: NAME_count, NAME_sum, and NAME_bucket "
        "with the label `le`; NAME is the metric's name, of an `expr` the query's.",
    )
    sources: tuple[str, ...] = Field(
        (), description="Names of the `extract.sources` that this query reads; empty = all."
    )
    may_be_empty: bool = Field(
        False,
        description="It is normal that this query matches no series, such as an `expr` that keeps "
        "only what exceeds a limit; otherwise an alert says so after an hour.",
    )
    backfill: bool = Field(
        False,
        description="Extract what the source has from before the first window, behind all that is "
        "live; begun once for each tier.",
    )
    aggregates: tuple[Aggregate, ...] = Field(
        (),
        description="Which aggregates of this query the warm and cold tiers hold; "
        "empty = what the tier says, of an `expr` without `increase`.",
    )
    tiers: tuple[TierName, ...] = Field(
        (), description="Which tiers hold this query; empty = all of `load.tiers`."
    )

    # Set by Settings, which alone knows the interval and the tiers.
    _alignment_seconds: float = PrivateAttr(DEFAULT_ALIGNMENT_SECONDS)
    _rollups: dict[str, Rollup] = PrivateAttr(default_factory=dict)
    _labels: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def kind(self) -> Literal["expr", "select"]:
        """Whether this query is evaluated or its raw samples are read."""
        return "select" if self.expr is None else "expr"

    @property
    def metric(self) -> str:
        """Its name in the file: the metric that an ``expr`` gives."""
        return self.name.partition("@")[0]

    @property
    def source(self) -> str:
        """Which of several sources it is extracted from; empty where there is only one."""
        return self.name.partition("@")[2]

    def reads(self, source: str) -> bool:
        """Whether it is to be extracted from a source of that name."""
        return not self.sources or source in self.sources

    def of_source(self, source: str, labels: Mapping[str, str]) -> Self:
        """This query as it is extracted from one of several sources: a query of its own."""
        copy = self.model_copy(update={"name": f"{self.name}@{source}"})
        copy._labels = dict(labels)
        return copy

    @property
    def text(self) -> str:
        """The expression or the selector."""
        return self.expr or self.select or ""

    @property
    def carries_histograms(self) -> bool:
        """Whether native histograms become classic series."""
        return self.native_histograms == "classic"

    @property
    def carried_kind(self) -> str:
        """The kind of a query whose native histograms become classic series; else empty."""
        return self.kind if self.carries_histograms else ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names that an ``expr`` writes can end in, behind its own."""
        return ("", *CLASSIC_SUFFIXES) if self.carries_histograms else ("",)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that an ``expr`` can write."""
        return tuple(self.metric + suffix for suffix in self.suffixes)

    @property
    def extracted(self) -> Selector:
        """The selector of the series that a ``select`` gives, before any relabelling."""
        selector = parse_selector(self.text)
        return selector.with_classic() if self.carries_histograms else selector

    def may_write(self, name: str) -> bool:
        """Whether a ``select`` can give a series of that name, before any relabelling."""
        return parse_selector(self.text).names_can_be(name, classic=self.carries_histograms)

    @property
    def labels(self) -> Mapping[str, str]:
        """What each of its series gets in the place of its own, in order of their names."""
        return self._labels

    @property
    def step_ms(self) -> int:
        """Milliseconds that the bounds of this query's windows are multiples of.

        The distance of its points for ``expr``, the pipeline's interval for ``select``.
        """
        return round((self.step or self._alignment_seconds) * 1000)

    def settle_ms(self, default_seconds: float | None) -> int:
        """Age in milliseconds at which an instant of this query can be extracted.

        An expression that looks ahead of its evaluation time waits for that time as well. Where
        neither the query nor ``default_seconds`` says, it is that of a source that does not either.
        """
        seconds = default_seconds if self.settle_seconds is None else self.settle_seconds
        if seconds is None:
            seconds = UNKNOWN_SETTLE_SECONDS
        return round(seconds * 1000) + (0 if self.expr is None else ahead_ms(self.expr))

    def settles_by_source(self, default_seconds: float | None) -> bool:
        """Whether that age follows what the source reports."""
        return self.settle_seconds is None and default_seconds is None

    @property
    def head_step_ms(self) -> int:
        """Milliseconds, a multiple of the step, that the newest window ends at multiples of."""
        interval_ms = round((self.interval_seconds or 0) * 1000)
        return max(1, -(-interval_ms // self.step_ms)) * self.step_ms

    def fingerprint(self, tier: str) -> str:
        """16 hex digits that change with everything that changes what is extracted for ``tier``.

        The transform and the sink are no part of it: they see samples after extraction.
        """
        parts = [self.name, self.kind, self.text, self.step_ms, tier]
        rollup = self.rollup(tier)
        parts += [[], "" if rollup is None else [rollup.resolution_ms, *rollup.aggregates]]
        if self._labels:
            parts.append(dict(self._labels))
        if self.carries_histograms:
            parts.append(self.native_histograms)
        packed = json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()
        return hashlib.blake2s(packed, digest_size=8).hexdigest()

    def rollup(self, tier: str) -> Rollup | None:
        """What ``tier`` keeps of this query; None = the samples as they are."""
        of_tier = self._rollups.get(tier)
        if of_tier is None:
            return None
        wanted: Sequence[str] = self.aggregates or tuple(
            name for name in of_tier.aggregates if self.kind == "select" or name != INCREASE
        )
        return Rollup.of(of_tier.resolution_ms, wanted)

    def is_in(self, tier: str) -> bool:
        """Whether the tier holds this query, where the tier is configured."""
        return not self.tiers or tier in self.tiers

    def bound(
        self,
        alignment_seconds: float,
        rollups: Mapping[str, Rollup],
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """This query with the pipeline's interval, what each tier does to samples, and labels."""
        copy = self.model_copy()
        # Windows of raw samples lie on the pipeline's grid, or on a finer one of the query's own.
        copy._alignment_seconds = min(alignment_seconds, self.interval_seconds or alignment_seconds)
        copy._rollups = dict(rollups)
        copy._labels = dict(labels)
        return copy

    def _problems(self) -> Iterator[Problem]:
        if self.name in RESERVED_NAMES:
            yield Problem(("name",), f"{self.name} is reserved for the loader's own points")
        if (self.expr is None) == (self.select is None):
            both = self.expr is not None
            text = "has both expr and select" if both else "has neither expr nor select"
            yield Problem((), f"{text}: give exactly one of them")
            return
        if self.expr is not None and not self.expr.strip():
            yield Problem(("expr",), "must not be blank")
        elif self.expr is not None:
            try:
                check_expression(self.expr)
                if depends_on_window(self.expr):
                    yield Problem(
                        ("expr",),
                        "has @ start() or @ end(): its values would depend on the windows that it "
                        "is extracted in",
                    )
            except ConfigError as error:
                yield Problem(("expr",), str(error))
        if self.expr is not None and self.step is None:
            yield Problem((), "has an expr but no step: say how far apart its points are (15s)")
        if self.select is not None:
            if self.step is not None:
                yield Problem(("step",), "belongs to expr: raw samples keep their own timestamps")
            try:
                _ = self.extracted
            except ConfigError as error:
                yield Problem(("select",), str(error))
        if self.expr is not None and INCREASE in self.aggregates:
            yield Problem(
                ("aggregates",),
                "has increase, which is of raw samples of a counter: use a select",
            )
        if self.step is not None and self.step * 1000 != round(self.step * 1000):
            yield Problem(("step",), "must be a whole number of milliseconds")
        interval_ms = (self.interval_seconds or 0) * 1000
        if interval_ms != round(interval_ms):
            yield Problem(("interval_seconds",), "must be a whole number of milliseconds")
