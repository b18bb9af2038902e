"""Which feeds a pushed series belongs to, and its labels as the query API would show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from common.promql.selector import Selector, parse_selector
from services.extractor.push.write_request import labels_of
from services.extractor.windows import Plan

# What is remembered of label sets from one request to the next, memory for memory: what Python adds
# to each, and to what became of one that is selected, is more than short ones have.
REMEMBERED_BYTES = 96 << 20
_KNOWN_BYTES, _SELECTED_BYTES = 100, 150


@dataclass(frozen=True, slots=True)
class Selected:
    """Of one series: the positions of its feeds (nearly always one), and its labels as JSON."""

    feeds: tuple[int, ...]
    series: bytes = b""


_UNSELECTED = Selected(())


class Selecting:
    """Applies the selectors of ``plans``; what it found of a label set it remembers.

    ``known``: by label set as sent; each was read, and is one that a series may have.
    """

    def __init__(self, plans: Sequence[Plan], remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._selectors: list[Selector] = [parse_selector(plan.query.text) for plan in plans]
        self._labels: list[Mapping[str, str]] = [plan.query.labels for plan in plans]
        self._external: Mapping[str, str] = {}
        self._remembered_bytes = remembered_bytes
        self.known: dict[bytes, Selected] = {}
        self._known_bytes = 0

    def set_external(self, labels: Mapping[str, str]) -> None:
        """Labels that remote write adds, and queries do not show."""
        if labels != self._external:
            self._external = dict(labels)
            self.known, self._known_bytes = {}, 0

    def find(self, label_set: bytes) -> Selected:
        """What becomes of a series; ``label_set`` is as sent. Raises ``BadRequest``."""
        found = self.known.get(label_set)
        if found is None:
            found = self._find(label_set)
            size_bytes = len(label_set) + _KNOWN_BYTES
            if found.feeds:
                size_bytes += len(found.series) + _SELECTED_BYTES
            self._known_bytes += size_bytes
            if self._known_bytes > self._remembered_bytes:
                self.known, self._known_bytes = {}, size_bytes
            self.known[label_set] = found
        return found

    def _find(self, label_set: bytes) -> Selected:
        labels = labels_of(label_set)
        for name, value in self._external.items():
            if labels.get(name) == value:
                del labels[name]
        feeds = tuple(
            index
            for index, selector in enumerate(self._selectors)
            if all(one.matches(labels.get(one.label, "")) for one in selector.matchers)
        )
        if not feeds:
            return _UNSELECTED
        # They are the same for each query: the source's.
        fixed = self._labels[feeds[0]]
        own = {name: labels[name] for name in sorted(labels) if name not in fixed}
        return Selected(feeds, msgspec.json.encode({**fixed, **own}))
