"""InfluxDB 3: whether its tables, and the columns of one, come near the limits of Core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from common.config import Settings, TierName
from common.samples.layout import Place
from common.sink.errors import failed
from common.sink.http_session import NO_RESPONSE, SinkSession
from common.sink.influx3 import (
    COLUMNS_MAX,
    PING_PATH,
    TABLES_MAX,
    TAGS_MAX,
    ask_tables,
    is_3,
    is_core,
)
from common.sink.sql import TAG, schema_of
from etlctl.doctor.report import Said, failure, ok, warning
from etlctl.output import thousands

_NEAR_SHARE = 0.8
_DO = (
    "put all metrics into one table: load.layout with a measurement and name_tag: true "
    "(docs/line-protocol.md)"
)


def tables_of(
    settings: Settings, wanted: Mapping[tuple[TierName, str], Iterable[Place] | None]
) -> Iterator[Said]:
    """What InfluxDB 3 says; nothing for another.

    ``wanted``: where is written to, if known, by tier and bucket.
    """
    with closing(SinkSession(settings.load.influxdb, connections=1)) as session:
        try:
            ping = session.request("GET", PING_PATH)
            if not is_3(ping.data):
                return
            found = ask_tables(session)
        except NO_RESPONSE as error:
            raise failed(session, error) from None
        if isinstance(found, str):
            yield ok(f"it does not say how many tables it has ({found})")
            return
        tables, columns = found
        if not is_core(ping.headers):
            yield ok(f"{thousands(tables)} tables, the widest of {thousands(columns)} columns")
            return
        layout = settings.load.layout.layout
        ours = [
            _ours(session, *of, [one for one in places or () if not layout.lacks_bound(one)])
            for of, places in wanted.items()
        ]
    yield _of_tables(tables, ours)
    if columns > _NEAR_SHARE * COLUMNS_MAX:
        yield warning(
            f"a table has {thousands(columns)} columns of at most {thousands(COLUMNS_MAX)}",
            "write metrics of a field each, or of many labels, to tables of their own "
            "(load.layout), or drop labels by transform.relabel",
        )
    tags, table = max((one.tags for one in ours), default=(0, ""))
    if tags > _NEAR_SHARE * TAGS_MAX:
        yield warning(
            f"table {table} has {thousands(tags)} tag columns of at most {thousands(TAGS_MAX)}: "
            "it has those of all labels of its metrics together",
            "drop labels by transform.relabel, or write metrics of other labels to tables of "
            "their own (load.layout)",
        )


@dataclass(frozen=True, slots=True)
class _Ours:
    """Of a bucket's tables that are written to, those yet to be made, and the one of most tags."""

    tier: TierName
    new: frozenset[str]
    tags: tuple[int, str]


def _ours(session: SinkSession, tier: TierName, bucket: str, places: Iterable[Place]) -> _Ours:
    wanted = frozenset(place.measurement for place in places)
    held = schema_of(session, bucket) if wanted else {}
    tags = ((list(held[name].values()).count(TAG), name) for name in wanted & held.keys())
    return _Ours(tier, wanted - held.keys(), max(tags, default=(0, "")))


def _of_tables(tables: int, ours: Sequence[_Ours]) -> Said:
    # Which bucket of a tier a metric is for shows in its series: at least one, at most all.
    most = sum(len(one.new) for one in ours)
    of_tier: dict[TierName, frozenset[str]] = {}
    for one in ours:
        of_tier[one.tier] = of_tier.get(one.tier, one.new) & one.new
    least = sum(map(len, of_tier.values()))
    said = f"{thousands(tables)} tables of at most {thousands(TABLES_MAX)} in all databases"
    if most:
        up_to = "up to " if least < most else ""
        said += f", and ours need {up_to}{thousands(most)} more"
    if tables + least > TABLES_MAX:
        return failure(f"{said}: what has no table becomes dead letters", _DO)
    if tables + most > _NEAR_SHARE * TABLES_MAX:
        return warning(said, _DO)
    return ok(said)
