"""What each request to a source says of us, on real connections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from common.config import ExtractSettings, OAuth2Settings
from common.errors import SourceRefused, SourceUnavailable
from common.source.http_session import source_session
from common.source.oauth2 import AccessTokens
from common.source.transport import BodyBounds, Message, Transport, read_all
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.support.mutual_tls import MutualTls

TOKEN_SECRET = "s3cret/of the client"
TIMEOUT_SECONDS = 30.0
BOUNDS = BodyBounds(TIMEOUT_SECONDS, TIMEOUT_SECONDS, 1 << 20)


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with AnsweringServer(reply(b"ok")) as server:
        yield server


class Endpoint:
    """A token endpoint: gives ``t1``, ``t2``, …, or what ``answer`` says."""

    def __init__(self, *, takes: str = "header", **more: object) -> None:
        self.given = 0
        self.forms: list[dict[str, list[str]]] = []
        self.takes, self.more = takes, more

    def __call__(self, handler: Handler) -> None:
        seen = handler.request_seen
        self.forms.append(parse_qs("&".join(f"{k}={v}" for k, v in seen.params.items())))
        in_header = "Authorization" in seen.headers
        if (self.takes == "header") is not in_header:
            reply(b'{"error": "invalid_client"}', 401)(handler)
            return
        self.given += 1
        token = {"access_token": f"t{self.given}", "token_type": "Bearer", **self.more}
        reply(json.dumps(token).encode())(handler)


@pytest.fixture
def endpoint() -> Iterator[AnsweringServer]:
    with AnsweringServer(Endpoint(expires_in=60)) as server:
        yield server


def extract(url: str, **more: object) -> ExtractSettings:
    return ExtractSettings.model_validate({"prometheus_url": url, **more})


def oauth2(endpoint: AnsweringServer, **more: object) -> dict[str, object]:
    token_url = f"{endpoint.url}/oauth/token"
    return {
        "client_id": "etl",
        "client_secret": TOKEN_SECRET,
        "token_url": token_url,
        **more,
    }


def ask(settings: ExtractSettings, path: str = "api/v1/query", **params: str) -> bytes:
    transport = Transport(settings.prometheus_url, source_session(settings))
    with closing(transport), transport.stream(path, params, TIMEOUT_SECONDS) as chunks:
        return read_all(chunks, 1 << 20)


def test_headers_and_params_come_with_every_kind_of_request(
    server: AnsweringServer, tmp_path: Path
) -> None:
    file = tmp_path / "tenant"
    file.write_text("team-a\n")
    file.chmod(0o600)
    settings = extract(
        f"{server.url}/prefix/",
        headers={"X-One": "1"},
        header_files={"X-Scope-OrgID": str(file)},
        params={"dedup": "true", "extra": ["a", "b"]},
    )
    with closing(Transport(settings.prometheus_url, source_session(settings))) as transport:
        with transport.stream("api/v1/query", {"query": "up"}, TIMEOUT_SECONDS) as chunks:
            read_all(chunks, 100)
        with transport.stream("api/v1/query", {"query": "u" * 3000}, TIMEOUT_SECONDS) as chunks:
            read_all(chunks, 100)
        message = Message(b"body", {"Content-Type": "application/x-protobuf"})
        with transport.post("api/v1/read", message, TIMEOUT_SECONDS, BOUNDS) as (_, chunks):
            read_all(chunks, 100)
        file.write_text("team-b")
        assert transport.document("api/v1/targets?state=active", TIMEOUT_SECONDS, 100) == b"ok"
    assert [one.method for one in server.requests] == ["GET", "POST", "POST", "GET"]
    for one in server.requests:
        assert one.path.startswith("/prefix/api/v1/")
        assert one.params["dedup"] == "true"
        assert one.params["extra"] == "b"  # the last of both
        assert one.headers["X-One"] == "1"
    tenants = [one.headers["X-Scope-OrgID"] for one in server.requests]
    assert tenants == ["team-a", "team-a", "team-a", "team-b"]
    assert server.requests[-1].params["state"] == "active"
    # A file that is being replaced: what it held last.
    file.write_text("")


def test_a_value_that_a_server_repeats_is_not_told(server: AnsweringServer) -> None:
    server.answer = reply(b"you said: top-secret-key", 500)
    settings = extract(server.url, headers={"X-Api-Key": "top-secret-key"})
    with pytest.raises(SourceUnavailable, match="500 with 'you said: …'"):
        ask(settings)


def test_a_token_is_kept_and_renewed_where_it_is_refused(
    server: AnsweringServer, endpoint: AnsweringServer
) -> None:
    def only_the_second(handler: Handler) -> None:
        authorization = handler.request_seen.headers["Authorization"]
        good = authorization == "Bearer t2"
        reply(b"ok" if good else b"expired", 200 if good else 401)(handler)

    server.answer = only_the_second
    settings = extract(server.url, auth={"oauth2": oauth2(endpoint)})
    with closing(Transport(server.url, source_session(settings))) as transport:
        for _ in range(3):
            with transport.stream("api/v1/query", {"query": "up"}, TIMEOUT_SECONDS) as chunks:
                assert read_all(chunks, 100) == b"ok"
    assert len(endpoint.requests) == 2
    sent = [one.headers["Authorization"] for one in server.requests]
    assert sent == ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t2"]


def test_one_that_is_refused_again_is_told_without_it(
    server: AnsweringServer, endpoint: AnsweringServer
) -> None:
    server.answer = reply(b"no: t2", 401)
    with pytest.raises(SourceRefused, match="401 with 'no: …'") as raised:
        ask(extract(server.url, auth={"oauth2": oauth2(endpoint)}))
    assert len(server.requests) == 2
    assert TOKEN_SECRET not in str(raised.value)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def tokens_of(endpoint: AnsweringServer, clock: Clock, **more: object) -> AccessTokens:
    import requests

    settings = OAuth2Settings.model_validate(oauth2(endpoint, **more))
    return AccessTokens(settings, requests.Session(), clock)


def test_a_token_is_good_until_shortly_before_it_expires(endpoint: AnsweringServer) -> None:
    clock = Clock()
    tokens = tokens_of(endpoint, clock, scopes=["read", "write"], endpoint_params={"audience": "a"})
    assert tokens.token() == tokens.token() == "t1"
    clock.now = 49.0
    assert tokens.token() == "t1"
    clock.now = 50.0
    assert tokens.token() == "t2"
    form = endpoint.requests[0].params
    assert form == {"grant_type": "client_credentials", "scope": "read write", "audience": "a"}
    tokens.refused("t1")  # is of old
    assert tokens.token() == "t2"


def test_a_token_without_an_end_is_kept(endpoint: AnsweringServer) -> None:
    clock = Clock()
    endpoint.answer = Endpoint()
    tokens = tokens_of(endpoint, clock)
    assert tokens.token() == "t1"
    clock.now = 1e9
    assert tokens.token() == "t1"


def test_an_endpoint_that_takes_the_client_in_the_form(endpoint: AnsweringServer) -> None:
    clock = Clock()
    endpoint.answer = Endpoint(takes="form", expires_in=60)
    tokens = tokens_of(endpoint, clock)
    assert tokens.token() == "t1"
    assert endpoint.requests[-1].params["client_secret"] == TOKEN_SECRET
    clock.now = 100.0
    assert tokens.token() == "t2"
    assert len(endpoint.requests) == 3  # it is not tried the other way again


@pytest.mark.parametrize(
    ("body", "status", "error", "says"),
    [
        (TOKEN_SECRET.encode(), 401, SourceRefused, "answered 401 with '...'"),
        (b"away", 503, SourceUnavailable, "answered 503 with 'away'"),
        (b"moved", 302, SourceRefused, "answered 302"),
        (b"<html>", 200, SourceUnavailable, "holds no bearer token"),
        (b'{"access_token": "t", "token_type": "mac"}', 200, SourceUnavailable, "no bearer token"),
        (b'{"token": "a-token"}', 200, SourceUnavailable, "no bearer token"),
    ],
)
def test_an_endpoint_without_a_token(
    server: AnsweringServer,
    endpoint: AnsweringServer,
    body: bytes,
    status: int,
    error: type[Exception],
    says: str,
) -> None:
    endpoint.answer = reply(body, status)
    with pytest.raises(error) as raised:
        ask(extract(server.url, auth={"oauth2": oauth2(endpoint)}))
    message = str(raised.value)
    assert says in message
    assert f"Prometheus at {server.url}/api/v1/query was not asked: the token endpoint" in message
    assert "(extract.auth.oauth2)" in message
    assert TOKEN_SECRET not in message
    assert "a-token" not in message
    assert server.requests == []


def test_an_endpoint_that_is_away(server: AnsweringServer) -> None:
    with AnsweringServer(reply(b"")) as gone:
        settings = extract(server.url, auth={"oauth2": oauth2(gone)})
    with pytest.raises(SourceUnavailable, match=r"cannot be reached: .* \(extract.auth.oauth2\)"):
        ask(settings)


def test_a_certificate_of_another_name(tmp_path: Path) -> None:
    tls = MutualTls(tmp_path / "tls", "prometheus.test")
    with AnsweringServer(reply(b"ok"), tls.context) as server:
        auth: dict[str, Any] = dict(tls.settings)
        with pytest.raises(SourceRefused, match="cannot be trusted"):
            ask(extract(server.url, auth=auth))
        auth["server_name"] = "prometheus.test"
        assert ask(extract(server.url, auth=auth)) == b"ok"


def test_the_proxy_of_the_settings(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    settings = extract("http://prometheus.test:9090", proxy_url=server.url)
    assert ask(settings) == b"ok"
    assert server.requests[0].headers["Host"] == "prometheus.test:9090"
