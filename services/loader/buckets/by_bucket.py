"""Entries whose lines are for several buckets: each part goes to its own, one after the other.

The transformer makes none such. A dead letter that is replayed may be one: of before
``load.bucket_from`` was set, or of when it said something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from common.samples.seal import Digest
from common.state.verdict import Entry, Pause, Retry, Settle, Verdict


def handle_by_bucket(
    entries: Sequence[Entry],
    parts_of: Callable[[Entry], Sequence[Entry]],
    handle: Callable[[Sequence[Entry]], list[Verdict]],
) -> list[Verdict]:
    """One verdict for each entry, of those that ``handle`` gives for its parts.

    Parts of one entry have its id, so no two of them are handled together.
    """
    parts = [parts_of(entry) for entry in entries]
    found: list[list[Verdict]] = [[] for _ in entries]
    for turn in range(max(map(len, parts), default=0)):
        now = [
            index
            for index, some in enumerate(parts)
            if turn < len(some) and not any(isinstance(one, Pause) for one in found[index])
        ]
        verdicts = handle([parts[index][turn] for index in now]) if now else []
        for index, verdict in zip(now, verdicts, strict=True):
            found[index].append(verdict)
    return [some[0] if len(some) == 1 else _joined(some) for some in found]


def _joined(verdicts: Sequence[Verdict]) -> Verdict:
    """What is to become of an entry; what was written of one that waits is written once more."""
    settled = [one for one in verdicts if isinstance(one, Settle)]
    waiting = [one for one in verdicts if isinstance(one, Retry)]
    for verdict in verdicts:
        if isinstance(verdict, Pause):
            return verdict
    if waiting:
        return max(waiting, key=lambda one: one.after_seconds)
    drops: Counter[str] = Counter()
    for one in settled:
        drops.update(one.drops)
    digests = [one.digest for one in settled if one.digest is not None]
    return Settle(
        loaded=sum(one.loaded for one in settled),
        drops=dict(drops),
        dead=tuple(letter for one in settled for letter in one.dead),
        digest=sum(digests, Digest()) if len(digests) == len(settled) else None,
    )
