"""Which series were already handed out, remembered in 8 bytes each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.errors import QueryTooLarge

NO_IDENTITY = 0


def fingerprints(identities: Iterable[object]) -> NDArray[np.int64]:
    """A hash of each identity, ``NO_IDENTITY`` for those that are no bytes.

    Different identities may share a hash: whoever takes them for equal must be right all the same.
    """
    return np.array(
        [hash(key) or 1 if isinstance(key, bytes) else NO_IDENTITY for key in identities], np.int64
    )


class SeenIdentities:
    """A set of fingerprints that grows by an entry at a time."""

    def __init__(self, max_identities: int) -> None:
        self._known = np.empty(0, np.int64)
        self._max_identities = max_identities

    def any(self, prints: NDArray[np.int64]) -> bool:
        """Whether one of ``prints`` is in the set."""
        wanted = prints[prints != NO_IDENTITY]
        if not len(self._known) or not len(wanted):
            return False
        places = np.searchsorted(self._known, wanted)
        places[places == len(self._known)] = 0
        return bool((self._known[places] == wanted).any())

    def add(self, prints: NDArray[np.int64]) -> None:
        """Put ``prints`` into the set; raises :class:`QueryTooLarge` when it is full."""
        both = np.concatenate((self._known, np.sort(prints[prints != NO_IDENTITY])))
        if len(both) > self._max_identities:
            raise QueryTooLarge(
                f"more than {self._max_identities} series in one window, which relabelling may join"
            )
        # Two sorted runs: a stable sort merges them.
        self._known = np.sort(both, kind="stable")
