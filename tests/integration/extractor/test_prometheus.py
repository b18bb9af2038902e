"""The client against a real Prometheus whose samples are known one by one."""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from common.config import ExtractSettings, Query
from common.errors import QueryRejected, QueryTooLarge, SourceRefused, SourceUnavailable
from devtools.servers.prometheus_server import PrometheusServer, ServerTls
from services.extractor.prometheus import LOOKS, PrometheusClient
from services.extractor.source import decode

MakePrometheus = Callable[..., PrometheusServer]
Samples = dict[str, list[tuple[int, bytes]]]

# Whole hours, some time ago.
START_MS = 1_700_002_800_000

VALUES = [
    "0",
    "-0",
    "1",
    "0.1",
    "NaN",
    "+Inf",
    "-Inf",
    "5e-324",
    "2.2250738585072011e-308",
    "1e21",
    "1e+300",
    "9223372036854775808",
    "123456789012345680",
    "0.30000000000000004",
    "-1.7976931348623157e308",
]

NASTY_LABELS = {
    "separator": '","values":[[1,"1"]]},{"metric":{"a":"',
    "end": '"]]}]}}',
    "slashes": '\\\\\\"',
    "lines": "a\nb",
    "unicode": "é漢字🙂\u2028",
    "html": "<&>",
}


def bits(value: float | str) -> bytes:
    return struct.pack("<d", float(value))


def written(series: str, samples: list[tuple[int, str]]) -> str:
    """Lines of OpenMetrics."""
    return "".join(f"{series} {value} {ms // 1000}.{ms % 1000:03d}\n" for ms, value in samples)


def quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.fixture(scope="module")
def known() -> Samples:
    """What the source holds, by the label ``n`` of each series."""
    samples: Samples = {}
    for number in range(200):
        off_ms = number * 37 % 1000
        samples[str(number)] = [
            (START_MS + off_ms + 15_000 * index, VALUES[(number + index) % len(VALUES)].encode())
            for index in range(100)
        ]
    for name in NASTY_LABELS:
        samples[name] = [(START_MS + 1_000, b"1.5"), (START_MS + 2_001, b"2.5")]
    # Samples exactly on the bounds of a window, and a millisecond beside them.
    samples["bounds"] = [
        (START_MS + 300_000 + beside, b"1") for beside in (-1, 0, 1, 59_999, 60_000, 60_001)
    ]
    return samples


@pytest.fixture(scope="module")
def server(
    known: Samples, tmp_path_factory: pytest.TempPathFactory, toolbox: object, log_dir: Path
) -> Iterator[PrometheusServer]:
    text = ["# TYPE x gauge\n"]
    for name, samples in known.items():
        label = NASTY_LABELS.get(name, "v" * 20)
        series = f'x{{n="{name}",nasty="{quoted(label)}"}}'
        text.append(written(series, [(ms, value.decode()) for ms, value in samples]))
    text.append("# EOF\n")
    server = PrometheusServer(
        toolbox,  # type: ignore[arg-type]
        tmp_path_factory.mktemp("known") / "prometheus",
        name="prometheus-known",
        log_dir=log_dir,
        retention="100y",
        flags=("--query.max-samples=100000",),
    )
    server.backfill("".join(text))
    with server:
        yield server


@pytest.fixture
def client(server: PrometheusServer) -> Iterator[PrometheusClient]:
    client = client_of(server)
    yield client
    client.close()


def client_of(server: PrometheusServer, **more: object) -> PrometheusClient:
    settings = ExtractSettings.model_validate({"prometheus_url": server.url, **more})
    return PrometheusClient(settings)


def select(text: str) -> Query:
    return Query(name="s", select=text).bound(15, {})


def read(client: PrometheusClient, query: Query, start_ms: int, end_ms: int) -> Samples:
    """Samples by the label ``n``, values as bits."""
    found: Samples = {}
    for block in client.read(query, start_ms, end_ms):
        assert len(block.histograms_ms) == 0
        begin = 0
        for labels, count in zip(block.series, block.counts.tolist(), strict=True):
            name = decode_label(labels)
            rows = slice(begin, begin + count)
            found.setdefault(name, []).extend(
                zip(
                    block.timestamps_ms[rows].tolist(),
                    map(bits, block.values[rows].tolist()),
                    strict=True,
                )
            )
            begin += count
    return found


def decode_label(labels: bytes) -> str:
    parsed = json.loads(labels)
    if "nasty" in parsed:
        assert parsed["nasty"] == NASTY_LABELS.get(parsed["n"], "v" * 20)
    return str(parsed.get("n", ""))


def within(known: Samples, start_ms: int, end_ms: int) -> Samples:
    found = {
        name: [(ms, bits(value.decode())) for ms, value in samples if start_ms < ms <= end_ms]
        for name, samples in known.items()
    }
    return {name: samples for name, samples in found.items() if samples}


def test_raw_samples_are_those_that_were_written(
    client: PrometheusClient, known: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Prometheus writes must be read by the fast way alone.
    monkeypatch.delattr(decode, "read_series")
    end_ms = START_MS + 3_600_000
    assert read(client, select("x"), START_MS - 1, end_ms) == within(known, START_MS - 1, end_ms)


def test_windows_share_no_sample_and_miss_none(client: PrometheusClient, known: Samples) -> None:
    bounds = [START_MS - 1, *range(START_MS + 60_000, START_MS + 1_800_001, 60_000)]
    together: Samples = {}
    for start_ms, end_ms in itertools.pairwise(bounds):
        found = read(client, select("x"), start_ms, end_ms)
        assert found == within(known, start_ms, end_ms)
        for name, samples in found.items():
            together.setdefault(name, []).extend(samples)
    assert together == within(known, bounds[0], bounds[-1])


def test_an_expr_is_evaluated_at_the_multiples_of_its_step(
    client: PrometheusClient, known: Samples
) -> None:
    query = Query(name="q", expr='x{n="7"}', step=10)
    start_ms = START_MS + 60_000
    found = read(client, query, start_ms, start_ms + 60_000)["7"]
    wanted = []
    for at_ms in range(start_ms + 10_000, start_ms + 60_001, 10_000):
        last = [value for ms, value in known["7"] if ms <= at_ms][-1]
        wanted.append((at_ms, bits(last.decode())))
    assert found == wanted
    assert read(client, query, START_MS - 7_200_000, START_MS - 3_600_000) == {}


def test_steps_and_bounds_in_milliseconds_arrive_exactly(client: PrometheusClient) -> None:
    query = Query(name="q", expr="time()", step=0.007)
    start_ms = START_MS // 7 * 7
    (block,) = client.read(query, start_ms, start_ms + 7 * 5_000)
    wanted = list(range(start_ms + 7, start_ms + 7 * 5_000 + 1, 7))
    assert block.series == (b"{}",)
    assert block.timestamps_ms.tolist() == wanted
    assert block.values.tolist() == [float(f"{ms // 1000}.{ms % 1000:03d}") for ms in wanted]


def test_an_empty_range_is_an_empty_answer(client: PrometheusClient) -> None:
    end_ms = START_MS + 7_200_000
    assert read(client, select('x{n="7"}'), end_ms - 3_600_000, end_ms) == {}
    assert read(client, select("missing"), START_MS, end_ms) == {}


@pytest.mark.parametrize("comment", ["", " # the bounds"])
def test_counting_says_what_reading_finds(
    client: PrometheusClient, known: Samples, comment: str
) -> None:
    query = select('x{n="bounds"}' + comment)
    start_ms = START_MS + 300_000
    for begin_ms in (start_ms - 1, start_ms, start_ms + 1):
        for end_ms in (start_ms + 59_999, start_ms + 60_000, start_ms + 60_001):
            counted = client.count_in(query, begin_ms, end_ms)
            assert counted == len(within(known, begin_ms, end_ms)["bounds"])
            assert counted == len(read(client, query, begin_ms, end_ms)["bounds"])
    everything = within(known, START_MS - 1, START_MS + 3_600_000).values()
    assert client.count_in(select("x"), START_MS - 1, START_MS + 3_600_000) == sum(
        map(len, everything)
    )
    assert client.count_in(select("missing"), START_MS, START_MS + 60_000) == 0


def test_version_decides_whether_ranges_are_open(
    client: PrometheusClient, server: PrometheusServer
) -> None:
    version = server.api("status/buildinfo")["version"]
    assert client.ranges_are_left_open(1_000_000_000_000) == (int(version.split(".")[0]) >= 3)


def test_the_server_says_how_it_scrapes(client: PrometheusClient, server: PrometheusServer) -> None:
    found = client.scrape_settings()
    active = server.api("targets", state="active")["activeTargets"]
    assert len(found.targets) == len({target["labels"]["job"] for target in active})
    assert all(
        0 < target.timeout_seconds <= target.interval_seconds <= 60 for target in found.targets
    )


def test_the_server_knows_its_oldest_sample(client: PrometheusClient, known: Samples) -> None:
    oldest_ms = min(samples[0][0] for samples in known.values())
    assert client.lowest_timestamp_ms() == oldest_ms // 1000 * 1000


def test_now_is_the_servers_clock(client: PrometheusClient, server: PrometheusServer) -> None:
    before = float(server.api("query", query="time()")["result"][1])
    now_ms = client.now_ms()
    after = float(server.api("query", query="time()")["result"][1])
    assert math.floor(before * 1000) <= now_ms <= math.ceil(after * 1000)
    assert client.now_ms() > 0


def unchecked(expr: str) -> Query:
    """A query that the configuration refuses, and a server of another version might accept."""
    return Query.model_construct(name="q", expr=expr, select=None, step=15.0)


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        (unchecked("rate("), QueryRejected, "bad_data: .*parse error"),
        (unchecked("rate(x)"), QueryRejected, "expected type range vector"),
        (
            Query(name="q", expr="x * on() x", step=15),
            QueryRejected,
            "execution: .*many-to-many|duplicate series",
        ),
        (Query(name="q", expr="x[5m]", step=15), QueryRejected, "invalid expression type"),
        (select("sum_over_time"), None, ""),
    ],
)
def test_a_query_that_prometheus_rejects(
    client: PrometheusClient, query: Query, error: type[Exception] | None, words: str
) -> None:
    if error is None:
        # A metric may be called like a function.
        assert read(client, query, START_MS, START_MS + 60_000) == {}
        return
    with pytest.raises(error, match=words):
        read(client, query, START_MS, START_MS + 600_000)


def test_too_many_samples_and_points_and_time_are_to_be_split(
    client: PrometheusClient, server: PrometheusServer
) -> None:
    heavy = Query(name="q", expr="sum(rate(x[1h])) + sum(rate(x[59m]))", step=1)
    with pytest.raises(QueryTooLarge, match="too many samples"):
        read(client, Query(name="q", expr="x", step=1), START_MS, START_MS + 3_600_000)
    with pytest.raises(QueryTooLarge, match="11001 points"):
        read(client, heavy, START_MS, START_MS + 11_001_000)
    with pytest.raises(QueryTooLarge, match=r"timed out|too many samples|deadline exceeded"):
        read(client_of(server, timeout=0.001), heavy, START_MS, START_MS + 3_600_000)


def test_a_string_is_no_series(client: PrometheusClient) -> None:
    with pytest.raises(QueryRejected, match="string"):
        read(client, Query(name="q", expr='"x"', step=15), START_MS, START_MS + 60_000)


def test_a_server_that_goes_and_comes_back(make_prometheus: MakePrometheus) -> None:
    server = make_prometheus()
    client = client_of(server, timeout=5)
    before = client.run()
    assert before is not None
    assert before.retention == "15d"
    assert client.run() == before
    server.kill()
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        client.now_ms()
    server.start()
    assert client.now_ms() > 0
    assert client.run() not in (before, None)


def test_basic_authentication(make_prometheus: MakePrometheus) -> None:
    server = make_prometheus(basic_auth=("etl", "dreadful: 1"))
    assert client_of(server, auth={"username": "etl", "password": "dreadful: 1"}).now_ms() > 0
    for auth in ({}, {"username": "etl", "password": "no"}, {"bearer_token": "x"}):
        client = client_of(server, auth=auth)
        with pytest.raises(SourceRefused, match="401"):
            client.now_ms()
        # A refusal of /metrics is no reason to stop.
        assert client.lowest_timestamp_ms() is None


def test_tls_with_client_certificates(make_prometheus: MakePrometheus, tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {}
    for name in ("127.0.0.1", "client"):
        issued = authority.issue_cert(name)
        files[name] = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(str(files[name][0]))
        files[name][1].touch(0o600)
        issued.private_key_pem.write_to_path(str(files[name][1]))
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server = make_prometheus(tls=ServerTls(*files["127.0.0.1"], ca_file, ca_file, *files["client"]))
    cert_file, key_file = map(str, files["client"])
    ours = {"cert_file": cert_file, "key_file": key_file}
    assert client_of(server, auth={"ca_file": str(ca_file), **ours}).now_ms() > 0
    assert client_of(server, auth={"verify": False, **ours}).now_ms() > 0
    with pytest.raises(SourceRefused, match=r"cannot be trusted.*certificate"):
        client_of(server, auth=ours).now_ms()
    with pytest.raises(SourceRefused, match=r"does not trust us.*certificate"):
        client_of(server, auth={"ca_file": str(ca_file)}).now_ms()


def test_whether_there_was_a_sample_throughout(client: PrometheusClient) -> None:
    """That none came shows once so much time has passed, to within a fifth of it."""
    late_ms, last_ms = 16_500, START_MS + 99 * 15_000

    def throughout(start_ms: int, end_ms: int) -> bool:
        return client.has_throughout('x{n="0"}', start_ms, end_ms, late_ms)

    assert throughout(START_MS + 15_000, last_ms)
    assert throughout(START_MS + 15_000, START_MS + 16_000)
    assert throughout(last_ms - 1, last_ms + late_ms - 1)
    assert not throughout(last_ms - 15_000, last_ms + 2 * late_ms)
    assert not throughout(last_ms - 1, last_ms + late_ms + late_ms // LOOKS + 1)
    assert not throughout(START_MS - late_ms, last_ms)
    assert not throughout(last_ms + late_ms, last_ms + 2 * late_ms)
