"""``python -m services.loader``: the loader as a process."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once(reads_again=True)
    lean_imports.begin()

import threading
from functools import partial

from common.errors import ConfigError, SinkError
from common.exit_codes import ExitCode
from common.runtime.readiness.dependency_watch import Dependency, probe_every_seconds, watch
from common.runtime.service import Service, run
from common.runtime.wiring import lease_check, open_stream, run_stage
from common.state.connection.redis_client import connect_as_set
from common.state.keys import POINTS, Keys
from common.state.seals import Seals
from common.state.windows import WindowSet
from services.loader.buckets.shared import SharedBuckets, run_id
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from services.loader.read_check import ReadCheck
from services.loader.sealing.configurations import Configurations
from services.loader.sealing.seals import SealKeeper
from services.loader.watermark import WatermarkKeeper, WatermarkReader


def main(service: Service) -> ExitCode:
    """Load points until the service stops."""
    pipeline, load = service.settings.pipeline, service.settings.load
    buckets: dict[str, str] = {name: tier.bucket for name, tier in load.tiers.items()}
    try:
        sink = InfluxSink(load.influxdb, connections=load.connections, own_failover=False)
        reading = ReadCheck.over_own_connections(
            load.influxdb, pipeline.redis_namespace, buckets.values(), service.stop
        )
    except SinkError as error:
        raise ConfigError(str(error)) from None
    stream = open_stream(service.settings, "loader", POINTS)
    handler = LoadHandler(
        load,
        sink,
        service.telemetry,
        stopping=service.stop.is_set,
        tick=service.tick,
        still_ours=lease_check(stream),
        set_ready=service.set_ready,
        wait=service.stop.wait,
        pipeline=pipeline.redis_namespace,
    )
    redis, keys = connect_as_set(pipeline), Keys(pipeline.redis_namespace)
    reader = WatermarkReader(load.influxdb, pipeline.redis_namespace)
    reads = {query.name: query.select or "" for query in service.settings.extract.queries}
    this_run = partial(run_id, redis, keys)
    shard = pipeline.shard or ""
    shared = SharedBuckets(reader, buckets.values(), reads, service.telemetry, this_run, shard)
    keeper = WatermarkKeeper(
        WindowSet(redis, keys),
        reader,
        sink,
        buckets,
        service.telemetry,
        service.stop,
        every_seconds=pipeline.watermark_seconds,
        reads=reads,
        run_id=this_run,
        shard=shard,
        after_turn=shared.check,
        prove_readable=reading.prove,
    )
    watched = Dependency("sink_read", reading, reading.timeout_seconds)
    watch(watched, probe_every_seconds(pipeline), service.stop, service.set_ready)
    seals = SealKeeper(
        Seals(redis, keys),
        Configurations(redis, keys),
        sink,
        pipeline.redis_namespace,
        buckets,
        service.telemetry,
        service.stop,
        every_seconds=pipeline.watermark_seconds,
    )
    for name, turns in (("watermark", keeper.run), ("seals", seals.run)):
        threading.Thread(target=turns, name=name, daemon=True).start()
    return run_stage(service, stream, handler)


if __name__ == "__main__":
    run("loader", main)
