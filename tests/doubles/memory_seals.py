"""The seals in memory: what ``commit.lua``, ``settle.lua`` and ``replay.lua`` do for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.samples.seal import Digest

Place = tuple[str, int]  # feed, end of the window in ms


@dataclass
class MemorySeals:
    """``due``: by feed, end, and whether it is what was replayed; ``None``: not known."""

    due: dict[tuple[str, int, bool], Digest | None] = field(default_factory=dict)
    unsettled: dict[Place, tuple[str, Digest | None]] = field(default_factory=dict)
    replayed: dict[Place, tuple[str, Digest | None]] = field(default_factory=dict)

    def committed(self, window_id: str, place: Place, entries: int) -> None:
        """A window takes the place of an older one of the same end."""
        self.replayed.pop(place, None)
        if entries:
            self.unsettled[place] = window_id, Digest()
        else:
            self.unsettled.pop(place, None)
            self.due[*place, False] = Digest()

    def loaded(
        self, window_id: str, place: Place, samples: int, digest: Digest | None, *, last: bool
    ) -> None:
        """An entry of a window with unsettled entries is settled, as the last of them."""
        known, found = self.unsettled.get(place, ("", None))
        if known != window_id:
            return
        found = _with(found, samples, digest)
        self.unsettled[place] = window_id, found
        if last:
            del self.unsettled[place]
            self.due[*place, False] = found

    def loaded_again(
        self, window_id: str, fields: Mapping[bytes, bytes], feed: str, digest: Digest | None
    ) -> None:
        """An entry of a settled window is loaded."""
        place = feed, int(fields[b"end_ms"])
        known, found = self.replayed.get(place, (window_id, Digest()))
        found = _with(found if known == window_id else None, 1, digest)
        self.replayed[place] = window_id, found
        self.due[*place, True] = found


def _with(found: Digest | None, loaded: int, digest: Digest | None) -> Digest | None:
    if not loaded:
        return found
    return None if found is None or digest is None else found + digest
