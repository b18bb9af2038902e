"""What the client requests, over real connections, and what it makes of good responses."""

from __future__ import annotations

import gzip
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from common.config import ExtractSettings, Query
from common.errors import QueryTooLarge, SourceError, SourceRefused, SourceUnavailable
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import Answer, Handler, chunked, reply
from tests.unit.services.extractor.client.client_world import Serve, client_of

EXPR = Query(name="q", expr="rate(x[1m])", step=15)
SELECT = Query(name="s", select='x{a="b"}').bound(15, {})

MATRIX = (
    b'{"status":"success","data":{"resultType":"matrix","result":['
    b'{"metric":{"a":"b"},"values":[[1700000000,"1"],[1700000000.001,"2"],[1700000060,"3"]]},'
    b'{"metric":{"a":"c"},"values":[[1700000000,"4"]]}]}}'
)
NOW = (
    b'{"status":"success","data":{"resultType":"scalar",'
    b'"result":[1700000000.123,"1700000000.123"]}}'
)


def test_an_expr_is_requested_on_its_grid(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    list(client_of(server.url, timeout=7.5).read(EXPR, 1_700_000_010_000, 1_700_000_070_000))
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/api/v1/query_range")
    assert request.params == {
        "query": "rate(x[1m])",
        "start": "1700000025.000",
        "end": "1700000070.000",
        "step": "15000ms",
        "timeout": "7500ms",
        # Of stores behind it, all or nothing, and nothing that was kept.
        "partial_response": "false",
    }
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["Cache-Control"] == "no-store"
    assert "Authorization" not in request.headers


def test_the_grid_is_that_of_the_step_whatever_the_bounds(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    client = client_of(server.url)
    list(client.read(Query(name="q", expr="x", step=0.25), 1_001, 1_999))
    assert server.requests[-1].params["start"] == "1.250"
    assert server.requests[-1].params["end"] == "1.750"
    assert server.requests[-1].params["step"] == "250ms"
    assert list(client.read(Query(name="q", expr="x", step=1), 1_001, 1_999)) == []
    assert len(server.requests) == 1


def test_a_select_is_requested_for_its_range_and_loses_what_is_too_early(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    (block,) = client_of(server.url).read(SELECT, 1_700_000_000_000, 1_700_000_060_000)
    (request,) = server.requests
    assert request.path == "/api/v1/query"
    assert request.params["query"] == 'x{a="b"}[60000ms]'
    assert request.params["time"] == "1700000060.000"
    assert block.series == (b'{"a":"b"}',)
    assert block.counts.tolist() == [2]
    assert block.timestamps_ms.tolist() == [1_700_000_000_001, 1_700_000_060_000]
    assert block.values.tolist() == [2.0, 3.0]


def test_a_comment_does_not_swallow_the_range(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    query = Query(name="s", select="x # all of it").bound(15, {})
    list(client_of(server.url).read(query, 0, 60_000))
    assert server.requests[0].params["query"] == "x # all of it\n[60000ms]"


def test_a_long_query_is_posted_as_a_form(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    values = "|".join(map(str, range(2_000)))
    query = Query(name="s", select=f'x{{a=~"{values}"}}').bound(15, {})
    list(client_of(server.url).read(query, 0, 60_000))
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/v1/query")
    assert request.params["query"] == f"{query.text}[60000ms]"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_too_many_points_are_refused_before_anything_is_asked(serve: Serve) -> None:
    server = serve(reply(MATRIX))
    client = client_of(server.url, max_points_per_series=100, catchup_window_samples=100)
    list(client.read(EXPR, 0, 100 * 15_000))
    with pytest.raises(QueryTooLarge, match=r"101 points a series are more than 100 .*rate\(x"):
        client.read(EXPR, 0, 101 * 15_000)
    # Nobody knows how many samples a select holds.
    list(client.read(SELECT, 0, 101 * 15_000))
    assert len(server.requests) == 2


@pytest.mark.parametrize("bounds", [(5, 5), (6, 5), (-1, 5)])
def test_a_range_that_is_none_is_a_mistake(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no range of time"):
        client_of("http://127.0.0.1:1").read(EXPR, *bounds)


@pytest.mark.parametrize("answer", [reply(MATRIX), chunked(MATRIX), chunked(MATRIX, chunk_bytes=1)])
def test_connections_are_kept(serve: Serve, answer: Answer) -> None:
    server = serve(answer)
    client = client_of(server.url)
    for _ in range(5):
        assert sum(map(len, client.read(EXPR, 0, 15_000))) == 4
    assert len({request.connection for request in server.requests}) == 1
    assert len(server.requests) == 5


def test_a_kept_connection_that_was_closed_is_opened_again(serve: Serve) -> None:
    def answer_and_leave(handler: Handler) -> None:
        reply(MATRIX)(handler)
        # Without saying so beforehand, as servers do with idle connections.
        handler.hang_up()

    server = serve(answer_and_leave)
    client = client_of(server.url)
    for _ in range(5):
        assert sum(map(len, client.read(EXPR, 0, 15_000))) == 4
    assert len({request.connection for request in server.requests}) == 5


def test_compressed_answers_of_a_stubborn_proxy_are_understood(serve: Serve) -> None:
    server = serve(reply(gzip.compress(MATRIX), headers={"Content-Encoding": "gzip"}))
    assert sum(map(len, client_of(server.url).read(EXPR, 0, 15_000))) == 4


def test_leaving_an_answer_half_read_closes_its_connection_and_nothing_else(serve: Serve) -> None:
    body = MATRIX[:-3] + b"," + b" " * 10_000_000 + MATRIX[MATRIX.index(b'{"metric"') :]
    server = serve(reply(body))
    client = client_of(server.url)
    blocks = client.read(EXPR, 0, 15_000)
    assert len(next(iter(blocks))) == 4
    del blocks
    server.answer = reply(MATRIX)
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 4
    assert len({request.connection for request in server.requests}) == 2


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"username": "me", "password": "secret"}, "Basic bWU6c2VjcmV0"),
        ({"username": "mé", "password": "pä:ß"}, "Basic bcOpOnDDpDrDnw=="),
        ({"bearer_token": "abc"}, "Bearer abc"),
    ],
)
def test_credentials(serve: Serve, auth: dict[str, str], header: str) -> None:
    server = serve(reply(NOW))
    client_of(server.url, auth=auth).now_ms()
    assert server.requests[0].headers["Authorization"] == header


def test_renewed_secret_files_are_used(serve: Serve, tmp_path: Path) -> None:
    server = serve(reply(NOW))
    token, password = tmp_path / "token", tmp_path / "password"
    for file in (token, password):
        file.touch(0o600)
        file.write_text("one\n")
    by_token = client_of(server.url, auth={"bearer_token_file": str(token)})
    by_password = client_of(server.url, auth={"username": "me", "password_file": str(password)})
    for client, file, first, second in (
        (by_token, token, "Bearer one", "Bearer two"),
        (by_password, password, "Basic bWU6b25l", "Basic bWU6dHdv"),
    ):
        client.now_ms()
        assert server.requests[-1].headers["Authorization"] == first
        file.write_text("two\n")
        client.now_ms()
        assert server.requests[-1].headers["Authorization"] == second
        # While it is being replaced, the one that was read at the start must do.
        file.unlink()
        client.now_ms()
        assert server.requests[-1].headers["Authorization"] == first


def test_the_environments_passwords_are_not_sent(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(reply(NOW))
    client_of(server.url).now_ms()
    client_of(server.url, auth={"bearer_token": "abc"}).now_ms()
    assert [request.headers.get("Authorization") for request in server.requests] == [
        None,
        "Bearer abc",
    ]


def test_redirects_are_remarks_and_not_followed(serve: Serve) -> None:
    elsewhere = serve(reply(NOW))
    for status in (301, 302, 303, 307, 308):
        server = serve(reply(b"", status, {"Location": f"{elsewhere.url}/api/v1/query"}))
        client = client_of(server.url, auth={"bearer_token": "abc"})
        with pytest.raises(SourceRefused, match=f"{status}.*{elsewhere.url}.*prometheus_url"):
            client.now_ms()
    assert elsewhere.requests == []


@dataclass
class Certificates:
    """An authority's certificates as files."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def files(self, name: str) -> tuple[str, str]:
        """Certificate and key for ``name``."""
        issued = self.authority.issue_cert(name)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return str(cert), str(key)

    @property
    def ca_file(self) -> str:
        """The authority itself."""
        file = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(file))
        return str(file)


def test_own_authority_and_client_certificate(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates.files("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca_file)
    server = serve(reply(NOW), context)
    cert_file, key_file = certificates.files("client")
    both = tmp_path / "both.pem"
    both.touch(0o600)
    both.write_text(Path(cert_file).read_text() + Path(key_file).read_text())
    ours = {"cert_file": cert_file, "key_file": key_file}

    # What the environment trusts is no business of ours once we were remarks.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    for auth in (
        {"ca_file": certificates.ca_file, **ours},
        {"ca_file": certificates.ca_file, "cert_file": str(both)},
    ):
        assert client_of(server.url, auth=auth).now_ms() == 1_700_000_000_123
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    with pytest.raises(SourceRefused, match=r"cannot be trusted.*certificate"):
        client_of(server.url, auth=ours).now_ms()
    without = client_of(server.url, auth={"ca_file": certificates.ca_file})
    # TLS 1.3 refuses after its handshake: the alert, or the end of the connection, comes first.
    with pytest.raises(SourceError, match=r"cannot be|does not trust us"):
        without.now_ms()


def test_now_is_the_servers_time(serve: Serve) -> None:
    server = serve(reply(NOW))
    client = client_of(server.url + "/prefix/")
    assert client.now_ms() == 1_700_000_000_123
    assert server.requests[0].path == "/prefix/api/v1/query"
    assert server.requests[0].params["query"] == "time()"
    assert "time" not in server.requests[0].params
    # VictoriaMetrics makes a vector of it.
    vector = b'{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"1700000000.5"]}]}'
    server.answer = reply(b'{"status":"success","data":%s}' % vector)
    assert client.now_ms() == 1_700_000_000_500
    for nonsense in (b"NaN", b"+Inf", b"0", b"-5"):
        server.answer = reply(NOW.replace(b'"1700000000.123"', b'"%s"' % nonsense))
        with pytest.raises(SourceUnavailable, match="where its own time belongs"):
            client.now_ms()


@pytest.mark.parametrize(("points_in_range", "asked_ms"), [(b"3", 59_999), (b"2", 60_000)])
def test_counting_leaves_out_the_beginning_of_the_range(
    serve: Serve, points_in_range: bytes, asked_ms: int
) -> None:
    def vector(value: bytes) -> Answer:
        result = b'[{"metric":{},"value":[1,"%s"]}]' % value
        return reply(b'{"status":"success","data":{"resultType":"vector","result":%s}}' % result)

    def answer(handler: Handler) -> None:
        probing = "vector(0)" in handler.request_seen.params["query"]
        vector(points_in_range if probing else b"12")(handler)

    server = serve(answer)
    client = client_of(server.url)
    assert client.count_in(SELECT, 60_000, 120_000) == 12
    counting = server.requests[-1].params
    assert counting["query"] == f'sum(count_over_time(x{{a="b"}}[{asked_ms}ms]))'
    assert counting["time"] == "120.000"
    server.answer = reply(b'{"status":"success","data":{"resultType":"vector","result":[]}}')
    assert client.count_in(SELECT, 60_000, 120_000) == 0
    for query, start_ms, end_ms in ((EXPR, 0, 60_000), (SELECT, 0, 1), (SELECT, -5, 5)):
        with pytest.raises(ValueError, match="no raw samples to count"):
            client.count_in(query, start_ms, end_ms)


@pytest.mark.parametrize("counted", ["NaN", "+Inf", "-Inf", "-1", "1e300"])
def test_what_is_no_count_is_an_error(serve: Serve, counted: str) -> None:
    result = b'[{"metric":{},"value":[1,"%s"]}]' % counted.encode()
    body = b'{"status":"success","data":{"resultType":"vector","result":%s}}' % result
    client = client_of(serve(reply(body)).url)
    with pytest.raises(SourceUnavailable, match="where a number of samples belongs, query"):
        client.count_in(SELECT, 60_000, 120_000)
    with pytest.raises(SourceUnavailable, match="where a number of samples belongs, query"):
        client.ranges_are_left_open(1_000_000_000_000)


@pytest.mark.parametrize("now", ["NaN", "+Inf", "0", "-5", "1e300"])
def test_a_time_that_cannot_be_is_an_error(serve: Serve, now: str) -> None:
    body = b'{"status":"success","data":{"resultType":"scalar","result":[1,"%s"]}}' % now.encode()
    with pytest.raises(SourceUnavailable, match="where its own time belongs"):
        client_of(serve(reply(body)).url).now_ms()


def test_remarks_are_reported_with_their_query(serve: Serve) -> None:
    server = serve(reply(MATRIX[:-1] + b',"warnings":["PromQL warning: odd"]}'))
    remarks: list[tuple[str, str]] = []
    client = PrometheusClient(
        ExtractSettings(prometheus_url=server.url),
        on_remark=lambda query, remark: remarks.append((query, remark)),
    )
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 4
    assert remarks == [("rate(x[1m])", "PromQL warning: odd")]


def test_credentials_in_the_url_are_neither_shown_nor_sent(serve: Serve) -> None:
    server = serve(reply(b"", 503))
    url = server.url.replace("//", "//me:secret@")
    client = PrometheusClient(ExtractSettings.model_construct(prometheus_url=url))
    with pytest.raises(SourceUnavailable) as raised:
        client.now_ms()
    assert "secret" not in str(raised.value)
    assert "Authorization" not in server.requests[0].headers
    client.close()
