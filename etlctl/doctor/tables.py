"""InfluxDB 3: whether its tables, and the columns of one, come near the limits of Core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from common.config import Settings, TierName
from common.errors import SinkError
from common.samples.layout import Place
from common.sink.errors import no_response
from common.sink.http_session import NO_RESPONSE, SinkSession
from common.sink.influx3 import COLUMNS_MAX, PING_PATH, TABLES_MAX, ask_tables, is_3, is_core
from etlctl.doctor.report import Said, failure, ok, warning
from etlctl.output import thousands
from services.verifier.connect import sink_of

_NEAR_SHARE = 0.8
_DO = (
    "put all metrics into one table: load.layout with a measurement and name_tag: true "
    "(docs/line-protocol.md)"
)


def tables_of(
    settings: Settings, wanted: Mapping[TierName, Iterable[Place] | None]
) -> Iterator[Said]:
    """What InfluxDB 3 says; nothing for another. ``wanted``: where is written to, if known."""
    with closing(SinkSession(settings.load.influxdb, connections=1)) as session:
        try:
            ping = session.request("GET", PING_PATH)
            if not is_3(ping.data):
                return
            found = ask_tables(session)
        except NO_RESPONSE as error:
            raise SinkError(
                f"InfluxDB at {session.url} cannot be reached: {no_response(session, error)}"
            ) from None
    if isinstance(found, str):
        yield ok(f"it does not say how many tables it has ({found})")
        return
    tables, columns = found
    if not is_core(ping.headers):
        yield ok(f"{thousands(tables)} tables, the widest of {thousands(columns)} columns")
        return
    new = sum(_new(settings, tier, places) for tier, places in wanted.items())
    said = f"{thousands(tables)} tables of at most {thousands(TABLES_MAX)} in all databases"
    if new:
        said += f", and ours need {thousands(new)} more"
    if tables + new > TABLES_MAX:
        yield failure(f"{said}: what has no table becomes dead letters", _DO)
    elif tables + new > _NEAR_SHARE * TABLES_MAX:
        yield warning(said, _DO)
    else:
        yield ok(said)
    if columns > _NEAR_SHARE * COLUMNS_MAX:
        yield warning(
            f"a table has {thousands(columns)} columns of at most {thousands(COLUMNS_MAX)}",
            "write metrics of a field each, or of many labels, to tables of their own "
            "(load.layout), or drop labels by transform.relabel",
        )


def _new(settings: Settings, tier: TierName, places: Iterable[Place] | None) -> int:
    """How many tables of a tier are yet to be made."""
    wanted = {place.measurement for place in places or ()}
    if not wanted:
        return 0
    with closing(sink_of(settings, tier)) as sink:
        return len(wanted.difference(sink.measurements()))
