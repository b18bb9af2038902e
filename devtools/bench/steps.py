"""Each step alone, in this process: million points per second of one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from common.config import Settings
from common.config.transform import RelabelRule
from common.errors import StackError
from common.promql.relabel import Rule
from common.runtime.telemetry import Telemetry
from common.samples.batch import Origin, SampleBatch
from common.samples.series import SeriesDrop, SeriesEncoder
from common.source.http_session import source_session
from common.source.transport import READ_BYTES, Transport
from devtools.bench.data import SELECTOR, Dataset
from devtools.bench.rig import QUERY, Rig
from devtools.bench.statistics import Spread
from devtools.servers.binaries import Toolbox
from services.extractor.source.decode import decode
from services.extractor.staging import EntryBuilder
from services.loader.admission import Admission
from services.loader.batch import Group
from services.loader.entry_history import Suspects
from services.loader.influx import InfluxSink
from services.loader.poster import Poster
from services.loader.responses import Outcome
from services.loader.total_refusal import TotalRefusal
from services.transformer.clean import clean
from services.transformer.line_protocol import encode, gzip_member, lines_of

SERIES = 1000
SAMPLES = 60
# One repetition of a step goes on for so long, so that the clock's grain does not matter.
_LEAST_SECONDS = 0.15

# What deployments do: drop what nobody reads, shorten a name, keep a part.
RULES: tuple[Rule, ...] = (
    RelabelRule(source_labels=("__name__",), regex="go_.*", action="drop"),
    RelabelRule(
        source_labels=("instance",), regex="([^:]+):.*", target_label="host", replacement="$1"
    ),
    RelabelRule(regex="region", action="labeldrop"),
)

STEPS = (
    "decode", "pack", "unpack", "relabel_cold", "relabel_warm", "filter", "encode", "compress",
    "post",
)  # fmt: skip


def measure(toolbox: Toolbox, now_ms: int, *, repeats: int) -> dict[str, Any]:
    """M points per second and core of each of :data:`STEPS`, at 60 samples a series."""
    dataset = Dataset(SERIES, SAMPLES, now_ms // 900_000 * 900_000)
    with Rig(toolbox, dataset, sink="null") as rig:
        settings = rig.settings(rig.config("bench", SAMPLES))
        steps = prepared(_answer(rig, settings), settings, dataset)
        return {
            name: Spread.of(
                dataset.points / seconds_of(step) / 1e6 for _ in range(repeats)
            ).as_json()
            for name, step in steps.items()
        }


def prepared(
    chunks: list[bytes], settings: Settings, dataset: Dataset
) -> dict[str, Callable[[], object]]:
    """Each step as a call that does it once for every point of the response in ``chunks``."""
    origin = Origin(QUERY, "select", "hot", "w", dataset.start_ms, dataset.end_ms)
    blocks = list(decode(chunks))
    build = EntryBuilder(settings.extract.entry_samples)
    entries = list(build(blocks, origin))
    payloads = [entry.encode() for entry in entries]
    names = [labels for entry in entries for labels in entry.samples.series]
    warm = SeriesEncoder(RULES)
    latest_ms = dataset.end_ms
    keyed = [(entry, _keys(warm, entry)) for entry in entries]
    kept = [clean(entry.samples, keys, latest_ms, 600_000)[0] for entry, keys in keyed]
    texts = [(list(lines_of(part)), part.keys) for part in kept]
    bodies = [output.payload for part in kept for output in encode(part)]
    load = settings.load
    telemetry = Telemetry("loader")
    sink = InfluxSink(load.influxdb, connections=1)
    admission = Admission(load, telemetry)
    poster = Poster(sink, admission, Suspects(), TotalRefusal(load, admission, bytes), telemetry)

    def post(body: bytes) -> Outcome:
        result = poster.post(Group(load.influxdb.bucket), body)
        if not isinstance(result, Outcome):
            raise StackError(f"the sink takes no posts: {result.reason}")
        return result

    return {
        "decode": lambda: list(decode(chunks)),
        "pack": lambda: [entry.encode() for entry in build(blocks, origin)],
        "unpack": lambda: [SampleBatch.decode(payload) for payload in payloads],
        "relabel_cold": lambda: SeriesEncoder(RULES).keys("select", QUERY, names),
        "relabel_warm": lambda: warm.keys("select", QUERY, names),
        "filter": lambda: [clean(entry.samples, keys, latest_ms, 600_000) for entry, keys in keyed],
        "encode": lambda: [list(lines_of(part)) for part in kept],
        "compress": lambda: [gzip_member(iter(lines), keys) for lines, keys in texts],
        "post": lambda: [post(body) for body in bodies],
    }


def seconds_of(step: Callable[[], object]) -> float:
    """CPU-seconds of one call, on average over as many as the clock's grain asks for."""
    calls, began = 0, time.process_time()
    while True:
        step()
        calls += 1
        if (taken := time.process_time() - began) >= _LEAST_SECONDS:
            return taken / calls


def _keys(encoder: SeriesEncoder, batch: SampleBatch) -> list[bytes | SeriesDrop]:
    keys = encoder.keys("select", QUERY, batch.samples.series)
    return [key for key in keys if isinstance(key, bytes | SeriesDrop)]


def _answer(rig: Rig, settings: Settings) -> list[bytes]:
    """Prometheus' answer to the query over the whole dataset, in pieces as they are read."""
    extract, dataset = settings.extract, rig.dataset
    transport = Transport(extract.prometheus_url, source_session(extract))
    window_ms = dataset.end_ms - dataset.start_ms
    params = {"query": f"{SELECTOR}[{window_ms}ms]", "time": f"{dataset.end_ms / 1000:.3f}"}
    try:
        with transport.stream("api/v1/query", params, extract.timeout_seconds) as chunks:
            body = b"".join(chunks)
    finally:
        transport.close()
    return [body[at : at + READ_BYTES] for at in range(0, len(body), READ_BYTES)]
