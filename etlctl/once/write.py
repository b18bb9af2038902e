"""Writing a range by hand: the loader's handler, with nothing behind it."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

from common.config import LoadSettings, Query
from common.errors import SinkError
from common.runtime.logs import EventLog
from common.runtime.telemetry import Telemetry
from common.samples.batch import SCHEMA_VERSION
from common.state.verdict import Entry, Settle
from etlctl.once.transformed import TIER, Transformed
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler


def written(
    load: LoadSettings, query: Query, found: Transformed
) -> tuple[int, list[dict[str, Any]]]:
    """Write the points of a range; how many were, and what the sink refused: reason, detail and
    samples.

    Raises :class:`SinkError` where the sink cannot be reached or refuses us; what was written by
    then stays, and is the same when it is written again.
    """
    entries = [
        Entry(
            id=str(number),
            schema=SCHEMA_VERSION,
            query=query.name,
            tier=TIER,
            kind=query.kind,
            window_id="once",
            samples=output.samples,
            payload=output.payload,
        )
        for number, output in enumerate(found.outputs)
    ]
    sink = InfluxSink(load.influxdb, connections=load.connections, own_failover=False)
    silent = logging.getLogger("etlctl.once")
    silent.disabled = True  # what the handler would log is in its verdicts
    telemetry = Telemetry("loader", logger=EventLog(silent))
    with closing(LoadHandler(load, sink, telemetry)) as handler:
        if (why := handler.check()) is not None:
            raise SinkError(why)
        verdicts = handler.handle(entries)
    loaded, refused = 0, []
    for verdict in verdicts:
        if not isinstance(verdict, Settle):
            raise SinkError(f"not all was written ({loaded} points): {verdict.reason}")
        loaded += verdict.loaded
        refused += [
            {"reason": one.reason, "detail": one.detail, "samples": one.samples}
            for one in verdict.dead
        ]
        refused += [
            {"reason": reason, "detail": "dropped", "samples": samples}
            for reason, samples in verdict.drops.items()
        ]
    return loaded, refused
