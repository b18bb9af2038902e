"""What the pipeline could reach at most: what source and sink do when nothing is between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from common.config import Settings
from common.errors import StackError
from common.runtime.telemetry import Telemetry
from common.samples.batch import SCHEMA_VERSION, Origin, SampleBatch
from common.source.http_session import source_session
from common.source.remote_read.choice import LEAST_SAMPLES, LEAST_SAMPLES_A_SERIES
from common.source.remote_read.request import HEADERS, read_request
from common.source.transport import BodyBounds, Message, Transport
from common.state.verdict import Entry, Output, Settle
from devtools.bench.data import SELECTOR, STEP_MS
from devtools.bench.machine import Meter, beyond_idle, cores
from devtools.bench.rig import QUERY, Rig
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.loader.admission import Admission
from services.loader.batch import Group
from services.loader.entry_history import Suspects
from services.loader.influx import InfluxSink
from services.loader.poster import Poster
from services.loader.responses import Kind, Outcome
from services.loader.total_refusal import TotalRefusal
from services.transformer.transform import TransformHandler

CONNECTIONS = 2


def windows_of(rig: Rig, window_samples: int) -> list[tuple[int, int]]:
    """The windows of the dataset, newest first, as the extractor reads a backlog."""
    dataset, length_ms = rig.dataset, window_samples * STEP_MS
    starts = range(dataset.start_ms // length_ms * length_ms, dataset.end_ms, length_ms)
    return [
        (max(start, dataset.start_ms), min(start + length_ms, dataset.end_ms))
        for start in reversed(starts)
    ]


def source_alone(
    rig: Rig,
    settings: Settings,
    window_samples: int,
    idle_cores: Mapping[str, float],
    least_seconds: float = 0.0,
) -> dict[str, float]:
    """Read every window with the extractor's own connection and throw the responses away.

    By the way that the extractor reads: by remote read where windows are long, but for the first.
    All of it is read again until ``least_seconds`` have passed.
    """
    windows = windows_of(rig, window_samples)
    extract = settings.extract
    is_long = (
        extract.remote_read == "auto"
        and window_samples >= LEAST_SAMPLES_A_SERIES
        and window_samples * rig.dataset.series >= LEAST_SAMPLES
    )

    def answer(
        transport: Transport, start_ms: int, end_ms: int
    ) -> AbstractContextManager[Iterator[bytes]]:
        if is_long and (start_ms, end_ms) != windows[0]:
            message = Message(read_request(SELECTOR, start_ms, end_ms), HEADERS)
            bounds = BodyBounds(extract.timeout_seconds, 10 * extract.timeout_seconds, 1 << 30)
            return _pieces(transport.post("api/v1/read", message, extract.timeout_seconds, bounds))
        params = {"query": f"{SELECTOR}[{end_ms - start_ms}ms]", "time": f"{end_ms / 1000:.3f}"}
        return transport.stream("api/v1/query", params, extract.timeout_seconds)

    def read(some: Sequence[tuple[int, int]]) -> int:
        transport = Transport(extract.prometheus_url, source_session(extract))
        answer_bytes = 0
        try:
            for start_ms, end_ms in some:
                with answer(transport, start_ms, end_ms) as chunks:
                    answer_bytes += sum(map(len, chunks))
        finally:
            transport.close()
        return answer_bytes

    shares = [windows[number::CONNECTIONS] for number in range(CONNECTIONS)]
    points = answer_bytes = 0
    meter = Meter({"prometheus": rig.prometheus.pid})
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        while not points or meter.seconds < least_seconds:
            answer_bytes += sum(pool.map(read, shares))
            points += rig.dataset.points
    seconds, cpu = meter.taken()
    cpu = beyond_idle(seconds, cpu, idle_cores)
    return {
        "points_per_second": points / seconds,
        "cpu_seconds_per_million_points": cpu["prometheus"] / points * 1e6,
        "answer_bytes_per_point": answer_bytes / points,
    }


@contextmanager
def _pieces(
    response: AbstractContextManager[tuple[Mapping[str, str], Iterator[bytes]]],
) -> Iterator[Iterator[bytes]]:
    with response as (_, pieces):
        yield pieces


def batches(rig: Rig, settings: Settings, window_samples: int) -> Iterator[SampleBatch]:
    """The whole dataset as the extractor makes entries of it."""
    source = PrometheusClient(settings.extract)
    build = EntryBuilder(settings.extract.entry_samples)
    query = settings.extract.queries[0]
    try:
        for start_ms, end_ms in windows_of(rig, window_samples):
            origin = Origin(QUERY, query.kind, "hot", "w", start_ms, end_ms)
            yield from build(source.read(query, start_ms, end_ms), origin)
    finally:
        source.close()


def encoded(rig: Rig, settings: Settings, window_samples: int) -> list[Output]:
    """The whole dataset as the transformer makes entries of it."""
    handler = TransformHandler.from_settings(settings)
    outputs: list[Output] = []
    for batch in batches(rig, settings, window_samples):
        verdict = handler.handle([entry_of(batch)])[0]
        if isinstance(verdict, Settle):
            outputs += verdict.outputs
    if sum(output.samples for output in outputs) != rig.dataset.points:
        raise StackError("Prometheus does not hold what was generated")
    return outputs


def entry_of(batch: SampleBatch) -> Entry:
    """A batch as it comes out of the raw stream."""
    origin = batch.origin
    return Entry(
        id="1-0",
        schema=SCHEMA_VERSION,
        payload=batch.encode(),
        samples=len(batch),
        query=origin.query,
        tier=origin.tier,
        kind=origin.kind,
        window_id=origin.window_id,
    )


def sink_alone(
    rig: Rig, settings: Settings, outputs: Sequence[Output], idle_cores: Mapping[str, float]
) -> dict[str, float]:
    """Post bodies that are encoded already, with the loader's own poster."""
    load = settings.load
    sink = InfluxSink(load.influxdb, connections=load.connections)
    telemetry = Telemetry("loader")
    admission = Admission(load, telemetry)
    poster = Poster(sink, admission, Suspects(), TotalRefusal(load, admission, bytes), telemetry)
    bucket = load.influxdb.bucket

    def post(output: Output) -> None:
        result = poster.post(Group(bucket), output.payload)
        if not isinstance(result, Outcome) or result.kind is not Kind.WRITTEN:
            raise StackError(f"the sink does not take what it is measured with: {result}")

    meter = Meter(rig.sink_pids)
    try:
        with ThreadPoolExecutor(load.connections) as pool:
            for _ in pool.map(post, outputs):
                pass
    finally:
        seconds, cpu = meter.taken()
        sink.close()
    cpu = beyond_idle(seconds, cpu, idle_cores)
    points = sum(output.samples for output in outputs)
    return {
        "points_per_second": points / seconds,
        "cpu_seconds_per_million_points": sum(cpu.values()) / points * 1e6,
    }


def zero_cost_bound(source: Iterable[float], sink: Iterable[float]) -> float:
    """Points per second if the pipeline cost nothing, from CPU-seconds per million points.

    Of each the least that was measured: alone, or beside the pipeline in the same run, where a
    server may take less because it is asked more evenly. So no pipeline can pass it: in its own run
    the cores had to carry what the servers took beside it.
    """
    return cores() / (min(source) + min(sink)) * 1e6
