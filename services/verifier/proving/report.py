"""What is told of a range that was compared: where it differs, or does so no more."""

from __future__ import annotations

from common.runtime.telemetry import Telemetry
from common.state.feeds import FeedStatus
from common.state.proven import Differing, FeedProof
from services.verifier.outcome import QueryResult
from services.verifier.proving.judgement import Judgement

EXAMPLES_SHOWN = 3


def report_proven(telemetry: Telemetry, proof: FeedProof) -> None:
    """Publish what of a feed is proven, what waits, and what differs."""
    labels, proven = proof.feed.labels, proof.proven
    telemetry.set("etl_verified_timestamp_seconds", proven.up_to_ms / 1000, **labels)
    telemetry.set("etl_verify_waiting_seconds", proof.waiting_ms / 1000, **labels)
    history_seconds = proof.history_waiting_ms / 1000
    telemetry.set("etl_verify_history_waiting_seconds", history_seconds, **labels)
    telemetry.set("etl_verify_differing_points", proven.points, **labels)


def report_compared(
    telemetry: Telemetry,
    feed: FeedStatus,
    start_ms: int,
    end_ms: int,
    result: QueryResult,
    differed: int,
) -> None:
    """Tell how it compares with the source; ``differed``: points that did so the last time."""
    points = result.unexplained
    bounds = {**feed.labels, "start_ms": start_ms, "end_ms": end_ms}
    if points and points != differed:
        telemetry.emit(
            "verify_differs",
            **bounds,
            points=points,
            missing=result.missing,
            extra=result.extra,
            different=result.different,
            examples=[
                f"{each.kind}: {each.series} at {each.timestamp_ms} ms"
                for each in result.explained.examples[:EXAMPLES_SHOWN]
            ],
        )
    elif differed and not points:
        telemetry.emit("verify_equal_again", **bounds)


def report_sealed(
    telemetry: Telemetry,
    feed: FeedStatus,
    start_ms: int,
    found: Judgement,
    before: Differing | None,
) -> None:
    """Tell how it compares with its seals; ``before``: what it was when it was compared last."""
    bounds = {**feed.labels, "start_ms": start_ms, "end_ms": found.end_ms}
    intact_ms, unproven_ms = found.intact_ms, found.unproven_ms
    if before is not None and not before.by_seals:
        # It holds what was loaded, but that was not what the source had.
        intact_ms, unproven_ms = 0, unproven_ms + intact_ms
    if intact_ms:
        telemetry.emit("verify_sealed", amount=intact_ms / 1000, **bounds)
    if unproven_ms:
        telemetry.emit("verify_unproven", amount=unproven_ms / 1000, **bounds)
    differed = before.points if before is not None and before.by_seals else 0
    if found.points and found.points != differed:
        telemetry.emit(
            "verify_damaged",
            **bounds,
            points=found.points,
            windows=sum(each.windows for each in found.damage),
            examples=[
                f"{each.kind} in ({each.start_ms}, {each.end_ms}]:"
                f" {each.sealed} points sealed, {each.found} found"
                for each in found.damage[:EXAMPLES_SHOWN]
            ],
        )
    elif differed and not found.points and intact_ms:
        telemetry.emit("verify_equal_again", **bounds)
