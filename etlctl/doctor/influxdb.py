"""InfluxDB: whether each tier's bucket takes our points, shows them, and keeps them long enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from math import inf

from common.config import Settings, TierName
from common.errors import SinkError, SourceError
from common.samples.layout import Place, any_bound
from common.samples.rollup import sample_field
from common.samples.series import SeriesEncoder
from common.sink.http_session import SinkSession
from etlctl.doctor.report import Report, Said, failure, ok, warning
from etlctl.doctor.tables import tables_of
from etlctl.init.sink import version_of
from etlctl.output import thousands
from etlctl.sink.retention import span
from services.loader.influx import InfluxSink
from services.loader.read_check import ReadCheck
from services.loader.responses import Kind, describe
from services.loader.watermark import WatermarkReader
from services.verifier.connect import source_of
from services.verifier.expect import identify_of
from services.verifier.ownership import places_of
from services.verifier.sink.read import Sink

SECTION = "influxdb"
# With more, an InfluxDB 1.x or 2 needs memory for its index alone that few machines have.
_MANY_SERIES = 1_000_000
_SERIES_OF_DEFAULT_LIMIT_SHARE = 0.8
_SHOWN = 3
_FLOAT = "float"


def look_at_influxdb(report: Report, settings: Settings) -> None:
    """Everything that loader and verifier need of it."""
    influxdb = settings.load.influxdb

    do = "check load.influxdb.url, and that it runs"

    def reachable() -> Iterator[Said]:
        away = []
        for url in influxdb.all_urls:
            try:
                version, _ = version_of(influxdb.model_copy(update={"url": url, "urls": ()}))
                yield ok(f"{url}, version {version or 'unknown'}")
            except SinkError as error:
                away.append(error)
        if len(away) == len(influxdb.all_urls):
            raise away[0]
        for why in away:
            yield warning(f"{why}; another URL is used", do.replace("url,", "urls,"))

    if not report.check(SECTION, "reachable", reachable, do):
        return
    written: dict[tuple[TierName, str], frozenset[Place] | None] = {}
    names = [
        (tier, name) for tier in settings.load.tiers for name in settings.load.buckets_of(tier)
    ]
    for tier, name in names:
        with closing(_Bucket(settings, tier, name)) as bucket:
            where = f"{tier} ({name})"
            if not report.check(SECTION, f"{where} write", bucket.write) or not bucket.writable:
                continue
            do = "let the token read the bucket, too: etlctl sink init makes one that may"
            if not report.check(SECTION, f"{where} read", bucket.read, do):
                continue
            report.check(SECTION, f"{where} retention", bucket.retention)
            if report.check(SECTION, f"{where} field types", bucket.types):
                written[tier, name] = bucket.places
            report.check(SECTION, f"{where} series", bucket.series)
    report.check(SECTION, "tables", lambda: tables_of(settings, written))


@dataclass
class _Bucket:
    settings: Settings
    tier: TierName
    name: str
    writable: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        session = SinkSession(self.settings.load.influxdb, connections=1)
        self._sink = Sink(session, self.name)

    def close(self) -> None:
        """Close the connections."""
        self._sink.close()

    @cached_property
    def places(self) -> frozenset[Place] | None:
        """Where is written to; None where Prometheus does not tell its metrics."""
        return _places(self.settings, self.tier)

    def write(self) -> Iterator[Said]:
        """A request without points tells whether the token may write."""
        with closing(InfluxSink(self.settings.load.influxdb, connections=1)) as sink:
            outcome = sink.probe(self.name)
        self.writable = outcome.kind is Kind.WRITTEN
        if self.writable:
            yield ok("would take points")
            return
        remedy = {
            Kind.MISSING: "make it: etlctl sink init (1.x before 1.8 has no /api/v2/write)",
            Kind.REFUSED: "check load.influxdb.token_file; etlctl sink init makes a token",
        }
        do = remedy.get(outcome.kind, "docs/sink-responses.md says what it means")
        yield failure(describe(outcome, self.name), do)

    def read(self) -> Iterator[Said]:
        """What is there proves it; an empty bucket is written the loader's own point."""
        influxdb, namespace = self.settings.load.influxdb, self.settings.pipeline.redis_namespace
        reader, sink = WatermarkReader(influxdb, namespace), InfluxSink(influxdb, connections=1)
        with closing(ReadCheck(reader, sink, (self.name,))) as check:
            if not self._shows_anything():
                check()
        yield ok("shows points")

    def _shows_anything(self) -> bool:
        try:
            return bool(self._sink.measurements())
        except SinkError:
            return False

    def retention(self) -> Iterator[Said]:
        """It must not forget before the configuration does."""
        wanted_seconds = self.settings.load.tiers[self.tier].retention_seconds
        if isinstance(unknown := self._sink.silent_retention_seconds(), str):
            do = f"give load.tiers.{self.tier}.retention: what is older vanishes in silence"
            yield warning(f"it does not say how long it keeps points ({unknown})", do)
            return
        kept_seconds = self._sink.kept_seconds()
        # A server that does not know the question counts as one that keeps them for ever.
        told = ", as far as it says" if kept_seconds == inf else ""
        kept = f"keeps points for {span(kept_seconds)}{told}"
        asked_seconds = self.settings.extract.initial_lookback_seconds
        key = f"load.tiers.{self.tier}.retention"
        if wanted_seconds is None and kept_seconds < asked_seconds:
            yield warning(
                f"{kept}, less than extract.initial_lookback_seconds ({span(asked_seconds)}): what "
                "is older is dropped",
                "let it keep points for longer, or begin later",
            )
        elif wanted_seconds is None or kept_seconds == wanted_seconds:
            yield ok(kept)
        elif kept_seconds < wanted_seconds:
            yield failure(
                f"{kept}, and {key} is {span(wanted_seconds)}: it forgets what should be there",
                "let it keep points for longer (etlctl sink init), or correct the configuration",
            )
        else:
            asked = span(wanted_seconds)
            yield warning(
                f"{kept}, and {key} is {asked}: what is older than {asked} is never written",
                "etlctl sink init --yes shortens it, or correct the configuration",
            )

    def types(self) -> Iterator[Said]:
        """A field that holds another type than ours refuses every point of ours."""
        type_of = types_of(self.settings, self.tier)
        places = self.places
        tables = {place._replace(name="") for place in places or ()}
        try:
            fields = list(self._sink.field_types())
        except SinkError as error:
            do = "see that no field of ours is there with another type"
            yield warning(f"it does not say what fields it has: {error}", do)
            return
        found = sorted(
            f"{name}.{field} ({type_})"
            for name, field, type_ in fields
            if (known := type_of(name, field))
            and type_ != known[1]
            and (places is None or known[0] in tables or any_bound(known[0]) in tables)
        )
        if not found:
            yield ok("nothing there conflicts with ours")
            return
        shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        if places is None:
            do = "see that no query writes a measurement of that name"
            yield warning(f"holds other types than ours: {shown}", do)
        else:
            do = "write to a bucket of our own, or rename ours by transform.relabel"
            yield failure(f"refuses points of ours, as it holds another type: {shown}", do)

    def series(self) -> Iterator[Said]:
        """How many series it has, as far as it says so."""
        try:
            rows = [row for _, row in self._sink.table("SHOW SERIES CARDINALITY")]
            series = sum(int(next(iter(row.values()))) for row in rows)
        except (SinkError, StopIteration, TypeError, ValueError):
            yield ok("it does not say how many series it has")
            return
        said = f"{thousands(series)} series"
        if series > _SERIES_OF_DEFAULT_LIMIT_SHARE * _MANY_SERIES:
            yield warning(
                f"{said}: a million is the default limit of 1.x, and much for any index",
                "drop labels of many values by transform.relabel",
            )
        else:
            yield ok(said)


def types_of(settings: Settings, tier: TierName) -> Callable[[str, str], tuple[Place, str] | None]:
    """What ours has in a field of a measurement: where its samples are held, and its type."""
    layout, rules = settings.load.layout.layout, settings.load.layout.integer_metrics
    rollups = [query.rollup(tier) for query in settings.extract.queries]
    aggregates = {one for rollup in rollups if rollup for one in rollup.aggregates}

    def type_of(measurement: str, field: str) -> tuple[Place, str] | None:
        of_samples: str | None = field
        if aggregates:
            is_ours = field.rpartition("_")[2] in aggregates
            of_samples = sample_field(field) if is_ours else None
        if of_samples is None:
            return None
        place = Place(measurement, of_samples)
        if layout.name_tag:
            return (place, _FLOAT) if place == layout.table else None
        name = next(layout.names(place), None)
        if name is None:
            return None
        whole = not aggregates and any(fnmatchcase(name, one) for one in rules)
        return place, "integer" if whole else _FLOAT

    return type_of


def _places(settings: Settings, tier: TierName) -> frozenset[Place] | None:
    encoder, rules = SeriesEncoder.from_settings(settings), settings.transform.relabel
    layout = settings.load.layout.layout
    found: frozenset[Place] = frozenset()
    for one_source in settings.each_source:
        with closing(source_of(one_source)) as source:
            try:
                for query in one_source.extract.queries:
                    if query.is_in(tier):
                        identify = identify_of(query, encoder)
                        found |= places_of(query, identify, source.metric_names, rules, layout)
            except SourceError:
                return None
    return found
