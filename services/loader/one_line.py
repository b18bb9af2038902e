"""The probe of a sink that refuses everything: one line of one entry.

Whose line it is changes from probe to probe, because the sink may refuse one of them for good.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from common.errors import WireError
from common.state.verdict import Pause, Retry
from services.loader import payload
from services.loader.admission import Admission, Proof
from services.loader.batch import Batch, Group
from services.loader.poster import Poster
from services.loader.responses import Outcome

# However long the sink has refused everything, entries that it would take now wait no longer.
_LONGEST_WAIT_SECONDS = 300.0


@dataclass
class OneLine:
    """Posts one line of a batch while a sink that refuses everything pauses the loader."""

    poster: Poster
    admission: Admission
    rng: random.Random
    _held_ids: set[str] = field(default_factory=set, init=False)

    def passes(self, batch: Batch, deadline_seconds: float) -> bool:
        """Whether the batch can be handled as always; else every entry has its verdict."""
        entries = batch.open
        self.rng.shuffle(entries)
        others = self.admission.others
        for entry, bucket in entries:
            if (wait := others.waiting(bucket)) is not None:
                batch.verdicts[entry.id] = wait
                continue
            try:
                lines = payload.decode(entry.payload, entry.samples)
            except WireError:
                continue
            group = Group(bucket, deadline_seconds)
            group.add(entry)
            outcome = self.poster.post(group, payload.encode([self.rng.choice(lines)]))
            if isinstance(outcome, Outcome):
                # Written, or refused for a cause that the sink names: it judges points.
                self.admission.resume(Proof.POINTS)
                return True
            if others.waiting(bucket) is None:
                self._hold(batch, outcome)
                return False
            batch.verdicts[entry.id] = outcome  # says nothing of the sink
        return True  # nothing of it can be posted

    def _hold(self, batch: Batch, not_now: Pause | Retry) -> None:
        """All wait; those that were tried before wait longer, so that others come to be tried."""
        ids = {entry.id for entry, _ in batch.open}
        if ids & self._held_ids:
            probes, wait_seconds = max(2, self.admission.probes), self.admission.seconds_to_probe
            not_now = Retry(min(probes * wait_seconds, _LONGEST_WAIT_SECONDS), not_now.reason)
        batch.verdicts |= dict.fromkeys(ids, not_now)
        self._held_ids = ids
