"""The names of everything the pipeline keeps in Redis, in one place.

All keys share one prefix, so several pipelines can share a server and one can be removed whole.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "etl"
RAW = "raw"
POINTS = "points"
STREAMS = (RAW, POINTS)


def feed_of(query: str, tier: str) -> str:
    """A feed is one query in one tier: what is planned, counted and watermarked by itself."""
    return f"{query}@{tier}"


def split_feed(feed: str) -> tuple[str, str]:
    """``(query, tier)`` of a feed."""
    query, _, tier = feed.rpartition("@")
    return query, tier


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under ``namespace``."""

    namespace: str

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
        """Hash: id of a released entry → the time in ms before which nobody takes it."""
        return f"{self.namespace}:released:{stream}"

    def payload(self, token: str) -> str:
        """String: the payload of one entry or dead letter."""
        return f"{self.namespace}:payload:{token}"

    def own_payload(self, name: bytes) -> str:
        """``name`` if it can only be a payload's key of ours, else an empty string.

        Entries and dead letters are whatever somebody put into a stream; what they name is read and
        later removed, so it must not be just any key.
        """
        prefix = self.payload("")
        try:
            text = name.decode("ascii")
        except UnicodeDecodeError:
            return ""
        token = text[len(prefix) :]
        return text if text.startswith(prefix) and token.isalnum() else ""

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return f"{self.namespace}:dead"

    @property
    def dead_records(self) -> str:
        """Hash: dead letter id → ``samples feed``, as counted when it was written."""
        return f"{self.namespace}:inflight:dead"

    @property
    def ledger(self) -> str:
        """Hash: ``feed|what[|reason]`` → samples."""
        return f"{self.namespace}:ledger"

    @property
    def staged(self) -> str:
        """Sorted set: ``payload-key bytes`` scored by the ms at which the staged key expires."""
        return f"{self.namespace}:staged"

    @property
    def unsettled(self) -> str:
        """Hash: committed window → how many of its entries are not settled."""
        return f"{self.namespace}:unsettled"

    @property
    def committed(self) -> str:
        """Hash: committed window with unsettled entries → ``feed start_ms end_ms``."""
        return f"{self.namespace}:committed"

    @property
    def feeds(self) -> str:
        """Set of feeds."""
        return f"{self.namespace}:feeds"

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
        """Sorted set: ``start_ms end_ms samples`` of committed windows, by when to recount."""
        return f"{self.namespace}:rechecks:{feed}"

    @property
    def sink_watermarks(self) -> str:
        """Hash: feed → its loaded watermark in ms as the sink holds it; empty if it holds none."""
        return f"{self.namespace}:sink_watermarks"

    @property
    def token(self) -> str:
        """Counter that lease tokens and window ids come from."""
        return f"{self.namespace}:token"

    @property
    def back_pressure(self) -> str:
        """Present while extraction pauses."""
        return f"{self.namespace}:backpressure"
