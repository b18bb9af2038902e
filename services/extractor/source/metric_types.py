"""What the source knows of the types of metrics: counter, gauge, histogram, summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GAUGE = "gauge"
# Series of one metric have its name with one of these behind it; a gauge's have not.
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created")


@dataclass(frozen=True, slots=True)
class MetricTypes:
    """By metric its types, as targets report them: they need not agree."""

    types: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, body: bytes) -> MetricTypes:
        """From the body of ``/api/v1/metadata``; nothing is known by one that is none."""
        try:
            data: Any = json.loads(body)["data"]
            found = {
                str(name): frozenset(str(one["type"]) for one in entries)
                for name, entries in data.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found = {}
        return cls(found)

    def is_gauge(self, name: str) -> bool | None:
        """Whether a series with that name is of a gauge by all that is said; None = not known."""
        types = self.types.get(name)
        if types is None:
            families = (name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))
            types = next((self.types[one] for one in families if one in self.types), frozenset())
        known = types - {"unknown", ""}
        return known == {GAUGE} if known else None
