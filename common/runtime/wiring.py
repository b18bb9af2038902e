"""How a stage's service is put together from its settings."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from redis.exceptions import RedisError

from common.config import PipelineSettings, Settings
from common.exit_codes import ExitCode
from common.runtime.mirror import DeadLetterMirror
from common.runtime.readiness.identity_guard import GuardedHandler, IdentityGuard
from common.runtime.readiness.redis_check import check_redis
from common.runtime.readiness.redis_watch import RedisWatch
from common.runtime.service import Service
from common.runtime.stage import Lifecycle, Stage, StageLimits
from common.state.connection.redis_client import connect_as_set
from common.state.keys import Keys
from common.state.stream import RedisStream
from common.state.verdict import Handler

# How often a stage that has new entries checks for those that others left behind.
CLAIM_EVERY_SECONDS = 0.25


def consumer_name(stage: str) -> str:
    """A name that no other process has had: host, process and a random part."""
    return f"{stage}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def stage_limits(pipeline: PipelineSettings) -> StageLimits:
    """The loop's limits from the settings."""
    return StageLimits(
        read_entries=pipeline.read_entries,
        lease_seconds=pipeline.entry_lease_seconds,
        poison_crashes=pipeline.poison_crashes,
        claim_every_seconds=CLAIM_EVERY_SECONDS,
        # Another may come and die in between: its lease shall be noticed about when it ends.
        claim_alone_seconds=min(15.0, pipeline.entry_lease_seconds / 4),
    )


def open_stream(
    settings: Settings, stage: str, inbound: str, outbound: str | None = None
) -> RedisStream:
    """This process's view of the stream ``inbound``; nothing is sent to Redis yet."""
    pipeline = settings.pipeline
    return RedisStream(
        connect_as_set(pipeline),
        Keys(pipeline.redis_namespace),
        inbound,
        consumer_name(stage),
        outbound=outbound,
        lease_seconds=pipeline.entry_lease_seconds,
        dead_letters_max_entries=pipeline.dead_letters.max_entries,
        dead_letters_sample=pipeline.dead_letters.sample_entries,
    )


def lease_check(stream: RedisStream) -> Callable[[Sequence[str]], bool]:
    """A check to make before each effect outside: are these entries still leased to us?

    True renews the lease, so that it outlives the effect. If Redis does not respond it is False:
    what cannot be settled need not be begun.
    """

    def still_ours(ids: Sequence[str]) -> bool:
        try:
            return not stream.renew(ids)
        except RedisError:
            return False

    return still_ours


def run_stage(service: Service, stream: RedisStream, handler: Handler) -> ExitCode:
    """Run ``handler`` over ``stream`` until the service stops; closes both."""
    pipeline = service.settings.pipeline
    redis = connect_as_set(pipeline)
    guard = IdentityGuard(redis, service.settings, service.telemetry)
    service.telemetry.set("etl_dead_letters_max", pipeline.dead_letters.max_entries)
    mirror_path = pipeline.dead_letters.mirror_path
    mirror = None
    if mirror_path is not None:
        mirror = DeadLetterMirror(Path(mirror_path), handler.stage, service.telemetry).append
    watch = RedisWatch(service, stream.consumer)
    stage = Stage(
        Lifecycle(service.stop, service.tick, service.set_ready, watch.answered),
        stream,
        GuardedHandler(handler, guard),
        service.telemetry,
        stage_limits(pipeline),
        mirror=mirror,
    )
    service.on_deadline(stage.release_in_hand)
    waking = threading.Thread(target=_wake, args=(service, stream), name="wake", daemon=True)
    waking.start()
    try:
        with connect_as_set(service.settings.pipeline) as redis:
            check_redis(service, redis)
        with watch:
            return stage.run()
    finally:
        stream.close()
        redis.close()


def _wake(service: Service, stream: RedisStream) -> None:
    """Once the service stops, nothing is waited for any more."""
    service.stop.wait()
    stream.wake()
