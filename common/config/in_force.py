"""What the points of a query depend on, as text, so that an earlier one can be applied again.

JSON: kind, text and step_ms of the query, and labels if its series get some, as pairs; relabel,
valid_metrics and expr_names of the transform; of a tier that holds rollups their resolution and
aggregates; of a layout other than the default its templates; native_histograms where they are not
dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import ValidationError

from common.config.model import Settings
from common.config.query import Query
from common.config.transform import RelabelRule
from common.errors import WireError
from common.samples.layout import DEFAULT_LAYOUT, Layout
from common.samples.rollup import Rollup


@dataclass(frozen=True, slots=True)
class InForce:
    """A query and the transform of its series under one configuration."""

    query: Query
    relabel: tuple[RelabelRule, ...]
    valid_metrics: tuple[str, ...]
    expr_names: tuple[str, ...]
    rollup: Rollup | None = None
    layout: Layout = DEFAULT_LAYOUT

    @classmethod
    def of(cls, query: Query, settings: Settings, tier: str = "hot") -> InForce:
        """What ``settings`` say of one of their queries in a tier."""
        transform, queries = settings.transform, settings.extract.every_query
        names = sorted({name for one in queries if one.kind == "expr" for name in one.names})
        return cls(
            query,
            tuple(transform.relabel),
            tuple(transform.valid_metrics),
            tuple(names),
            query.rollup(tier),
            settings.load.layout.layout,
        )

    def transforms_like(self, other: InForce) -> bool:
        """Whether the same samples become the same points under both."""
        return self.names_like(other) and self.rollup == other.rollup

    def names_like(self, other: InForce) -> bool:
        """Whether the same series have the same names under both."""
        return self._naming() == other._naming()

    def _naming(self) -> tuple[object, ...]:
        return (
            self.relabel,
            self.valid_metrics,
            self.expr_names,
            self.query.labels,
            self.layout,
        )

    def to_json(self) -> str:
        """The same text for everything that gives the same points."""
        query = self.query
        parts = {
            "kind": query.kind,
            "text": query.text,
            "step_ms": query.step_ms,
            "relabel": [
                rule.model_dump(mode="json", exclude_defaults=True) for rule in self.relabel
            ],
            "valid_metrics": self.valid_metrics,
            "expr_names": self.expr_names,
        }
        if query.labels:
            parts["labels"] = sorted(query.labels.items())
        if query.carries_histograms:
            parts["native_histograms"] = query.native_histograms
        if self.rollup is not None:
            parts["rollup"] = [self.rollup.resolution_ms, *self.rollup.aggregates]
        if self.layout != DEFAULT_LAYOUT:
            tagged = [self.layout.name_tag] if self.layout.name_tag else []
            parts["layout"] = [self.layout.measurement, self.layout.field, *tagged]
        if self.layout.histograms:
            parts["layout_histograms"] = self.layout.histograms
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def parse(cls, name: str, text: str) -> InForce:
        """The reverse, for the query ``name``; raises :class:`WireError` for anything else."""
        try:
            parts = json.loads(text)
            step, rolled = parts["step_ms"] / 1000, parts.get("rollup")
            given = {"step": step} if parts["kind"] == "expr" else {}
            if histograms := parts.get("native_histograms"):
                given["native_histograms"] = histograms
            metric = name.partition("@")[0]
            query = Query.model_validate({"name": metric, parts["kind"]: parts["text"], **given})
            labels = {str(k): str(v) for k, v in parts.get("labels", ())}
            return cls(
                query.model_copy(update={"name": name}).bound(step, {}, labels),
                tuple(map(RelabelRule.model_validate, parts["relabel"])),
                tuple(map(str, parts["valid_metrics"])),
                tuple(map(str, parts["expr_names"])),
                Rollup.of(int(rolled[0]), map(str, rolled[1:])) if rolled else None,
                Layout(
                    *map(str, parts.get("layout", ())),
                    histograms=str(parts.get("layout_histograms", "")),
                ),
            )
        except (ValueError, LookupError, TypeError, ValidationError, RecursionError) as error:
            raise WireError(
                f"query {name}: an earlier configuration cannot be read: {error!r:.200}"
            ) from None
