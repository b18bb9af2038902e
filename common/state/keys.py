"""The names of everything the pipeline keeps in Redis, in one place.

All keys share one prefix, so several pipelines can share a server and one can be removed whole.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "etl"
RAW = "raw"
POINTS = "points"
STREAMS = (RAW, POINTS)


def lane_of(query: str, tier: str) -> str:
    """A lane is one query in one tier: what is planned, counted and watermarked by itself."""
    return f"{query}@{tier}"


def split_lane(lane: str) -> tuple[str, str]:
    """``(query, tier)`` of a lane."""
    query, _, tier = lane.rpartition("@")
    return query, tier


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under ``namespace``."""

    namespace: str

    def stream(self, stream: str) -> str:
        """Stream of entries; each is metadata and the name of its payload's key."""
        return f"{self.namespace}:stream:{stream}"

    def in_flight(self, stream: str) -> str:
        """Hash: entry id → ``samples bytes lane window payload-key``."""
        return f"{self.namespace}:inflight:{stream}"

    def crashes(self, stream: str) -> str:
        """Hash: entry id → how many workers died with it."""
        return f"{self.namespace}:crashes:{stream}"

    def released(self, stream: str) -> str:
        """Hash: entry id given back → the time in ms before which nobody takes it."""
        return f"{self.namespace}:released:{stream}"

    def payload(self, token: str) -> str:
        """String: the payload of one entry or dead letter."""
        return f"{self.namespace}:payload:{token}"

    def own_payload(self, name: bytes) -> str:
        """``name`` if it can only be a payload's key of ours, else an empty string.

        Entries and letters are whatever somebody put into a stream; what they name is read and
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
    def dead_held(self) -> str:
        """Hash: dead letter id → ``samples lane``, as booked when it was written."""
        return f"{self.namespace}:inflight:dead"

    @property
    def ledger(self) -> str:
        """Hash: ``lane|what[|reason]`` → samples."""
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
        """Hash: committed window with unsettled entries → ``lane start_ms end_ms``."""
        return f"{self.namespace}:committed"

    @property
    def lanes(self) -> str:
        """Set of lanes."""
        return f"{self.namespace}:lanes"

    def lane(self, lane: str) -> str:
        """Hash: fingerprint, head_ms, origin_ms, backlog ranges, back-off of one lane."""
        return f"{self.namespace}:lane:{lane}"

    def windows(self, lane: str) -> str:
        """Hash: open window id → JSON of its bounds and lease."""
        return f"{self.namespace}:windows:{lane}"

    def gaps(self, lane: str) -> str:
        """List of declared gaps, JSON each, newest last."""
        return f"{self.namespace}:gaps:{lane}"

    def rechecks(self, lane: str) -> str:
        """Sorted set: ``start_ms end_ms samples`` of committed windows, by when to recount."""
        return f"{self.namespace}:rechecks:{lane}"

    @property
    def sink_watermarks(self) -> str:
        """Hash: lane → its loaded watermark in ms as the sink holds it; empty if it holds none."""
        return f"{self.namespace}:sink_watermarks"

    @property
    def token(self) -> str:
        """Counter that lease tokens and window ids come from."""
        return f"{self.namespace}:token"

    @property
    def back_pressure(self) -> str:
        """Present while extraction pauses."""
        return f"{self.namespace}:backpressure"
