"""The names of everything the pipeline keeps in Redis, in one place.

All keys share one prefix, so several pipelines can share a server and one can be removed whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.state.fields import text_of

GROUP = "etl"
RAW = "raw"
POINTS = "points"
STREAMS = (RAW, POINTS)
# How many settled entries of each stream are noted, for an audit that was under way meanwhile.
SETTLED_NOTED = 10_000


def feed_of(query: str, tier: str) -> str:
    """A feed is one query in one tier: what is planned, counted and watermarked by itself."""
    return f"{query}@{tier}"


def split_feed(feed: str) -> tuple[str, str]:
    """``(query, tier)`` of a feed."""
    query, _, tier = feed.rpartition("@")
    return query, tier


def part_of(feed: str, backfill: str) -> str:
    """A feed's part of a backfill: what the windows of both are kept under."""
    return f"{feed}+{backfill}"


class Keys:
    """Key names under ``namespace``, and what each key holds."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        # Stream of dead letters.
        self.dead = f"{namespace}:dead"
        # Hash: dead letter id, or group of counted ones → ``samples feed``, as counted.
        self.dead_records = f"{namespace}:inflight:dead"
        # Hash: group of dead letters (JSON: stage, reason, feed, measurement) → how many are kept.
        self.dead_kept = f"{namespace}:dead:kept"
        # Hash: group → JSON of what was only counted: samples by window, the newest detail.
        self.dead_counted = f"{namespace}:dead:counted"
        # Hash: feed → JSON list of what was purged: start_ms, end_ms, samples.
        self.dead_purged = f"{namespace}:dead:purged"
        # Hash: ``feed|what[|reason]`` → samples.
        self.ledger = f"{namespace}:ledger"
        # Sorted set: ``payload-key bytes`` scored by the ms at which the staged key expires.
        self.staged = f"{namespace}:staged"
        # Hash: committed window → how many of its entries are not settled; ``window again``: it was
        # put back because payloads of it were lost.
        self.unsettled = f"{namespace}:unsettled"
        # Hash: committed window with unsettled entries → ``feed start_ms end_ms``.
        self.committed = f"{namespace}:committed"
        # Hash: ``feed end_ms`` of a committed window with unsettled entries → its seal so far.
        self.seals = f"{namespace}:seals"
        # Hash: ``feed end_ms`` or ``feed end_ms replay`` → a seal to be written to the sink
        # (:class:`common.state.seals.DueSeal`).
        self.seals_due = f"{namespace}:seals:due"
        # Hash: ``feed end_ms`` of a settled window → the sum of what was replayed of it since.
        self.seals_replayed = f"{namespace}:seals:replayed"
        # The loader that writes seals to the sink at present.
        self.seals_writer = f"{namespace}:seals:writer"
        # Set of feeds.
        self.feeds = f"{namespace}:feeds"
        # Hash: feed → its loaded watermark in ms as the sink has it; empty if it has none.
        self.sink_watermarks = f"{namespace}:sink_watermarks"
        # A random word, made with the first watermark: names this state of Redis in the sink.
        self.run_id = f"{namespace}:run_id"
        # Counter that lease tokens and window ids come from.
        self.token = f"{namespace}:token"
        # Hash: worker → JSON of its readiness (``workers.WorkerReport``).
        self.workers = f"{namespace}:workers"
        # Hash: source and sink of the pipeline that the namespace belongs to.
        self.identity = f"{namespace}:identity"
        # Hash: feed → JSON of what the verifier has proven of it (:mod:`common.state.proven`).
        self.verified = f"{namespace}:verified"
        # String: a random word of the verifier that works; expires unless it is renewed.
        self.verify_lease = f"{namespace}:verify_lease"
        # Set of the ids of backfills.
        self.backfill_ids = f"{namespace}:backfills"
        # Set: ``feed+id`` of each feed's part of a backfill (:mod:`common.state.backfills`).
        self.backfill_parts = f"{namespace}:backfill_parts"
        # Present while extraction pauses.
        self.back_pressure = f"{namespace}:backpressure"

    def of_seals(self) -> list[str]:
        """The keys of the seals, in the order that scripts are given them."""
        return [self.seals, self.seals_due, self.seals_replayed]

    def stream(self, stream: str) -> str:
        """Stream of entries; each is metadata and the name of its payload's key."""
        return f"{self.namespace}:stream:{stream}"

    def in_flight(self, stream: str) -> str:
        """Hash: entry id → ``samples bytes feed window payload-key``."""
        return f"{self.namespace}:inflight:{stream}"

    def crashes(self, stream: str) -> str:
        """Hash: entry id → how many workers died with it."""
        return f"{self.namespace}:crashes:{stream}"

    def released(self, stream: str) -> str:
        """Hash: id of a released entry → ``until_ms wait_ms``: until when nobody takes it."""
        return f"{self.namespace}:released:{stream}"

    def settled(self, stream: str) -> str:
        """Stream: entries that were settled of late (``entry``), and their in-flight ``record``."""
        return f"{self.namespace}:settled:{stream}"

    def clock(self, stream: str) -> str:
        """String: a late time in ms that Redis' clock has shown; one before it went back.

        And behind a blank, while leases begin anew after that, where this goes on.
        """
        return f"{self.namespace}:clock:{stream}"

    def of_stream(self, stream: str) -> list[str]:
        """The keys of one stream, in the order that scripts are given them."""
        return [kind(stream) for kind in (self.stream, self.in_flight, self.crashes, self.released)]

    def payload(self, token: str) -> str:
        """String: the payload of one entry or dead letter."""
        return f"{self.namespace}:payload:{token}"

    def own_payload(self, name: bytes) -> str:
        """``name`` if it can only be a payload's key of ours, else a key that no payload has.

        Entries and dead letters are whatever somebody put into a stream; what they name is read
        and later removed, so it must not be just any key. It must be one of ours in any case: Redis
        refuses all others to a user with the least rights.
        """
        prefix, text = self.payload(""), text_of(name)
        token = text[len(prefix) :]
        ours = text.startswith(prefix) and token.isascii() and token.isalnum()
        return text if ours else prefix

    def feed(self, feed: str) -> str:
        """Hash: fingerprint, head_ms, origin_ms, backlog ranges, back-off of one feed."""
        return f"{self.namespace}:feed:{feed}"

    def windows(self, feed: str) -> str:
        """Hash: open window id → JSON of its bounds and lease."""
        return f"{self.namespace}:windows:{feed}"

    def gaps(self, feed: str) -> str:
        """List of declared gaps, JSON each, newest last."""
        return f"{self.namespace}:gaps:{feed}"

    def rechecks(self, feed: str) -> str:
        """Sorted set of committed ranges (``feeds.Recheck``), by when to count them again."""
        return f"{self.namespace}:rechecks:{feed}"

    def history(self, feed: str) -> str:
        """Hash: id → a configuration that was in force, ``changes`` → JSON of when."""
        return f"{self.namespace}:history:{feed}"

    def replicas(self, feed: str) -> str:
        """String: JSON of what was read from which replica of the source."""
        return f"{self.namespace}:replicas:{feed}"

    def backfill(self, id_: str) -> str:
        """Hash: state, order, rate and counts of a backfill."""
        return f"{self.namespace}:backfill:{id_}"

    def of_backfill(self, id_: str, part: str) -> list[str]:
        """The keys that one more part of a backfill changes, in the order that scripts want."""
        return [self.backfill(id_), self.backfill_ids, self.backfill_parts, self.feed(part)]

    def of_parts(self, parts: Iterable[str]) -> list[str]:
        """The keys of parts of backfills, in the order that scripts are given them."""
        return [kind(part) for part in parts for kind in (self.feed, self.windows)]

    def of_feed(self, feed: str) -> list[str]:
        """The keys of one feed, in the order that scripts are given them."""
        return [kind(feed) for kind in (self.feed, self.windows, self.gaps, self.rechecks)]
