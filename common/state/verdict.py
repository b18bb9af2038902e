"""What a stage is given and what it decides: entries and verdicts.

A handler is a pure function from entries to verdicts. It knows nothing of Redis; the
:class:`common.runtime.stage.Stage` loop turns each verdict into one atomic script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # etl-metrics has no memory to spare for what digests are made with
    from common.samples.seal import Digest

# In the place of a window, of an entry that was pushed (:mod:`common.state.pushes`): it is of none.
PUSHED = "push"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry in the hands of a worker.

    ``samples`` is what its in-flight record counts; ``crashes`` is how many workers died with it.
    ``digest`` is that of its points as the entry says it, 32 hexadecimal digits; empty: it says
    none. ``payload_missing``: the entry names a payload that is not there. ``fields`` are the
    entry's own fields as found, for a dead letter of an entry that cannot be understood.
    """

    id: str
    schema: int
    query: str
    tier: str
    kind: str
    window_id: str
    samples: int
    payload: bytes
    crashes: int = 0
    payload_key: str = ""
    payload_missing: bool = False
    digest: str = ""
    fields: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """One entry for the next stream; query, tier, kind and window are the inbound entry's.

    ``digest`` is that of its points, if they are known.
    """

    payload: bytes
    samples: int
    digest: Digest | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Samples that cannot be delivered, kept with the reason and the message of who refused them.

    ``reason`` is short and stable (a metric label), ``detail`` free text, ``payload`` the
    refused lines or the undecodable bytes, ``measurement`` that of all of them (empty: there are
    several, or it is not known).
    """

    reason: str
    detail: str
    payload: bytes
    samples: int
    measurement: str = ""


@dataclass(frozen=True, slots=True)
class Settle:
    """The entry is finished: every one of its samples is accounted for here.

    ``digest`` is that of what was loaded; without it the seal of the entry's window is unknown.
    ``again``: the entry's window is extracted again; nothing but drops goes with it.
    """

    outputs: Sequence[Output] = ()
    loaded: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    dead: Sequence[DeadLetter] = ()
    digest: Digest | None = field(default=None, compare=False)
    again: bool = False

    @property
    def samples(self) -> int:
        """Samples this verdict accounts for; must equal the entry's."""
        return (
            sum(output.samples for output in self.outputs)
            + self.loaded
            + sum(self.drops.values())
            + sum(letter.samples for letter in self.dead)
        )


@dataclass(frozen=True, slots=True)
class Retry:
    """Release the entry; nobody takes it for ``after_seconds``."""

    after_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """A dependency refuses us: release the entry and take no more work until it serves us."""

    reason: str


Verdict = Settle | Retry | Pause


def may_have_replaced(entry: Entry, refused: Settle) -> bool:
    """Whether what was written may be older than what it replaced: its settlement was refused.

    The entry's time may have been extracted once more meanwhile. Raw samples are the same each
    time; what is computed from them may have changed.
    """
    return bool(refused.loaded) and (entry.tier != "hot" or entry.kind != "select")


class Handler(Protocol):
    """The work of one stage."""

    @property
    def stage(self) -> str:
        """The stage's name, as used in metrics and dead letters."""
        ...

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """One verdict for each entry, in order. Bad data is a verdict, never an exception."""
        ...

    def check(self) -> str | None:
        """Query the dependency whether it would serve us now: ``None``, or why not."""
        ...

    def close(self) -> None:
        """Release connections; called once, after the last batch is settled."""
        ...
