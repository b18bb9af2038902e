"""What is known of a pipeline at one moment, and what of it needs a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import Redis

from common.state.backfills import Backfill, Backfills
from common.state.dead_letters.counted import counted
from common.state.feeds import FeedStatus, Gap, empty_queries
from common.state.fields import text_of
from common.state.keys import Keys
from common.state.ledger import Audit, Ledger
from common.state.proven import FeedProof, ProofRecord
from common.state.status.findings import Finding, findings
from common.state.windows import WindowSet
from common.state.workers import WorkerReport, Workers

OVER = ("done", "cancelled")


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The ledger is of one instant; the rest was read right after it.

    ``backfills``: those that are not over. ``gaps`` and ``proofs`` by feed; ``dead_letters_max``
    is None where nobody has said how many may be kept. ``dead_letters``: how many are kept, or only
    counted, by stage and reason in one word.
    """

    audit: Audit
    feeds: Mapping[str, FeedStatus]
    workers: Sequence[WorkerReport]
    dead_letters_max: int | None
    backfills: Sequence[Backfill] = ()
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)
    proofs: Mapping[str, FeedProof] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)

    def findings(self) -> list[Finding]:
        """What needs a person, the worst first."""
        return findings(
            self.audit,
            self.feeds,
            self.workers,
            self.dead_letters_max,
            empty_queries(self.feeds),
            self.backfills,
            {name: one.proven.points for name, one in self.proofs.items()},
        )

    def document(self) -> dict[str, Any]:
        """Ledger, streams and windows as plain data: samples, bytes, ms since the epoch."""
        audit = self.audit
        return {
            "now_ms": audit.now_ms,
            "imbalance_samples": audit.imbalance_samples,
            "back_pressure": audit.back_pressure,
            "staged_bytes": audit.staged_bytes,
            "dead_letter_entries": audit.dead_letter_entries,
            "dead_letter_entries_max": self.dead_letters_max,
            "dead_letters_by_reason": dict(self.dead_letters),
            "accounts": {
                feed: {**asdict(account), "imbalance_samples": account.imbalance_samples}
                for feed, account in audit.accounts.items()
            },
            "streams": {name: asdict(depth) for name, depth in audit.streams.items()},
            "feeds": {
                name: {
                    **asdict(feed),
                    "watermark_ms": feed.watermark_ms,
                    "loaded_watermark_ms": feed.loaded_watermark_ms,
                    "proven_up_to_ms": proven_up_to_ms(self.proofs.get(name)),
                }
                for name, feed in self.feeds.items()
            },
            "gaps": {name: [asdict(gap) for gap in found] for name, found in self.gaps.items()},
        }


def proven_up_to_ms(proof: FeedProof | None) -> int | None:
    """Up to where the verifier has compared all of what is live; None where it compared none."""
    if proof is None or not proof.proven.compared:
        return None
    return proof.proven.up_to_ms


def read_status(redis: Redis, keys: Keys, dead_letters_max: int) -> PipelineStatus:
    """Read all of it.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    audit = Ledger(redis, keys).audit()
    window_set = WindowSet(redis, keys)
    feeds = window_set.status()
    return PipelineStatus(
        audit,
        feeds,
        Workers(redis, keys).alive(),
        dead_letters_max,
        backfills=running(Backfills(redis, keys).all()),
        gaps=gaps_of(window_set, feeds.keys() | audit.accounts.keys()),
        # Nobody's lease: it is only read.
        proofs=ProofRecord(redis, keys, token="", lease_seconds=0).read(),
        dead_letters=dead_letters_by_reason(redis, keys),
    )


def dead_letters_by_reason(redis: Redis, keys: Keys) -> dict[str, int]:
    """Stage and reason, ``loader rejected``, and how many; what is not ours is passed over."""
    kept: Any = redis.hgetall(keys.dead_kept)
    found: Counter[str] = Counter()
    for group, number in kept.items():
        try:
            stage, reason, *_ = json.loads(text_of(group))
            found[f"{stage} {reason}"] += int(number)
        except (ValueError, TypeError, RecursionError):
            continue
    for letters in counted(redis, keys):
        found[f"{letters.stage} {letters.reason}"] += letters.letters
    return dict(found)


def gaps_of(window_set: WindowSet, names: Iterable[str]) -> dict[str, list[Gap]]:
    """The gaps of those feeds that have any: one that was closed has left its own behind."""
    return {name: gaps for name in sorted(names) if (gaps := window_set.gaps(name))}


def is_over(backfill: Backfill) -> bool:
    """Whether nothing of it will be extracted any more."""
    return backfill.state in OVER


def running(backfills: Iterable[Backfill]) -> list[Backfill]:
    """Those that are not over."""
    return [one for one in backfills if not is_over(one)]
