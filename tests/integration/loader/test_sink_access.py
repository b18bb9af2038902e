"""How the sink is reached: rotated tokens and certificates, users of 1.x, proxies, db/rp."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from pydantic import SecretStr, ValidationError

from common.config import InfluxSettings
from common.errors import SinkError
from common.sink.http_session import Proxy, proxy_of
from devtools.servers.influx_server import InfluxServer
from services.loader.influx import InfluxSink
from services.loader.responses import Kind
from services.loader.watermark import MEASUREMENT, WatermarkReader
from tests.doubles.influx_engine import ORG, TOKEN, Engine
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.loading import BUCKET, lines, payload

BODY = payload(lines(10))


@pytest.fixture
def server() -> Iterator[InfluxDB2]:
    with InfluxDB2(Engine(BUCKET)) as running:
        yield running


def settings(url: str, **changed: Any) -> InfluxSettings:
    values = {"url": url, "org": ORG, "bucket": BUCKET, "timeout_seconds": 5}
    return InfluxSettings(**(values | changed))


def secret(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def replaced(path: Path, text: str) -> None:
    """As secrets are replaced: a new file takes the place of the old one."""
    os.replace(secret(path.with_suffix(".new"), text), path)


def test_a_rotated_token_needs_no_restart(server: InfluxDB2, tmp_path: Path) -> None:
    file = tmp_path / "token"
    sink = InfluxSink(settings(server.url, token_file=secret(file, TOKEN)), connections=1)
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    server.engine.token = "another"
    assert sink.probe(BUCKET).kind is Kind.REFUSED
    file.unlink()  # half-way through
    assert sink.probe(BUCKET).kind is Kind.REFUSED

    replaced(file, "another\n")

    assert sink.probe(BUCKET).kind is Kind.WRITTEN
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    sink.close()


def test_who_connects_anew_has_the_token_of_now(server: InfluxDB2, tmp_path: Path) -> None:
    """As the verifier does with each turn, by settings that were read when it started."""
    file = tmp_path / "token"
    found = settings(server.url, token_file=secret(file, TOKEN))
    server.engine.token = "another"
    replaced(file, "another\n")
    sink = InfluxSink(found, connections=1)
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    sink.close()


def test_a_probe_reads_the_token_again_though_the_file_seems_unchanged(
    server: InfluxDB2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.sink.http_session._stamp", lambda file: (0, 0, 0, 0))
    file = tmp_path / "token"
    sink = InfluxSink(
        settings(server.url, token_file=secret(file, "b" * len(TOKEN))), connections=1
    )
    assert sink.write(BUCKET, BODY).kind is Kind.REFUSED

    secret(file, TOKEN)

    assert sink.write(BUCKET, BODY).kind is Kind.REFUSED
    assert sink.probe(BUCKET).kind is Kind.WRITTEN
    sink.close()


def test_a_token_file_that_everybody_may_read_changes_nothing(
    server: InfluxDB2, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    sink = InfluxSink(settings(server.url, token_file=secret(file, TOKEN)), connections=1)
    file.write_text("other", encoding="utf-8")
    file.chmod(0o644)

    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    sink.close()


def test_a_rotated_authority_needs_no_restart(server: InfluxDB2, tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    second.issue_cert("127.0.0.1").configure_cert(context)
    server.speak_tls(context)
    ca_file = tmp_path / "ca.pem"
    first.cert_pem.write_to_path(ca_file)
    url = server.url.replace("http:", "https:")
    sink = InfluxSink(settings(url, token=SecretStr(TOKEN), ca_file=str(ca_file)), connections=1)
    assert sink.probe(BUCKET).cause == "certificate"

    replaced(ca_file, second.cert_pem.bytes().decode())

    assert sink.probe(BUCKET).kind is Kind.WRITTEN
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    sink.close()


def test_a_client_certificate_is_shown(server: InfluxDB2, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    server.speak_tls(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = authority.issue_cert("loader.test")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    url = server.url.replace("http:", "https:")
    known = {"token": SecretStr(TOKEN), "ca_file": str(tmp_path / "ca.pem")}
    cert = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    stranger = InfluxSink(settings(url, **known), connections=1)
    sink = InfluxSink(settings(url, **known, **cert), connections=1)

    assert stranger.write(BUCKET, BODY).kind is not Kind.WRITTEN
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    for one in (stranger, sink):
        one.close()


def test_a_user_of_1x_is_named_by_basic_authentication(server: InfluxDB2, tmp_path: Path) -> None:
    file = secret(tmp_path / "password", "p:ss wörd")
    sink = InfluxSink(settings(server.url, username="jo", password_file=file), connections=1)

    sink.write(BUCKET, BODY)

    sent = server.requests[-1].headers["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "jo:p:ss wörd"
    sink.close()


def test_headers_are_sent_and_their_files_read_again(server: InfluxDB2, tmp_path: Path) -> None:
    file = tmp_path / "key"
    known = settings(
        server.url,
        token=SecretStr(TOKEN),
        headers={"X-Scope-OrgID": "tenant"},
        header_files={"X-Key": secret(file, "first\n")},
    )
    sink = InfluxSink(known, connections=1)

    def sent() -> list[str | None]:
        assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
        return [server.requests[-1].headers.get(name) for name in ("X-Scope-OrgID", "X-Key")]

    assert sent() == ["tenant", "first"]
    replaced(file, "second")
    assert sent() == ["tenant", "second"]
    file.unlink()  # half-way through
    assert sent() == ["tenant", "second"]
    sink.close()


def test_a_file_of_a_header_that_is_gone_is_told(tmp_path: Path) -> None:
    file = tmp_path / "key"
    known = settings("http://a", header_files={"X-Key": secret(file, "s3cret")})
    file.unlink()
    with pytest.raises(SinkError, match=r"load\.influxdb\.header_files\.X-Key: names .*key, which"):
        InfluxSink(known, connections=1)


def test_a_store_of_several_tenants_is_written_and_read(
    make_influx: Callable[..., InfluxServer],
) -> None:
    influx = make_influx(tenant="t-7", databases=["db"])
    stranger = InfluxSink(settings(influx.url), connections=1)
    assert stranger.probe("db").kind is Kind.REFUSED
    known = settings(influx.url, headers={"X-Scope-OrgID": "t-7"})
    sink, reader = InfluxSink(known, connections=1), WatermarkReader(known, "etl")

    line = f"{MEASUREMENT},pipeline=etl,query=q,tier=hot value=7000.0".encode()
    assert sink.write("db", gzip.compress(line)).kind is Kind.WRITTEN

    assert reader.read("db", "q", "hot") == 7000
    for one in (stranger, sink, reader):
        one.close()


def test_a_certificate_of_another_name_is_what_was_asked_for(
    server: InfluxDB2, tmp_path: Path
) -> None:
    authority, asked = trustme.CA(), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("influxdb.test").configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server.speak_tls(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = server.url.replace("http:", "https:")
    known = {"token": SecretStr(TOKEN), "ca_file": str(tmp_path / "ca.pem")}

    for name, kind in (
        (None, Kind.REFUSED),
        ("other.test", Kind.REFUSED),
        ("influxdb.test", Kind.WRITTEN),
    ):
        sink = InfluxSink(settings(url, server_name=name, **known), connections=1)
        assert sink.write(BUCKET, BODY).kind is kind
        sink.close()
    assert asked[1:] == ["other.test", *asked[2:]]
    assert asked[-1] == "influxdb.test"


def test_a_proxy_of_the_settings_is_used(server: InfluxDB2) -> None:
    # The stand-in takes the absolute URL that a proxy gets.
    known = settings("http://sink.invalid", token=SecretStr(TOKEN), proxy_url=server.url)
    sink = InfluxSink(known, connections=1)

    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    assert server.requests[-1].headers["Host"] == "sink.invalid"
    sink.close()


def test_a_proxy_of_the_environment_is_used(
    server: InfluxDB2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:secret@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    sink = InfluxSink(settings("http://sink.invalid", token=SecretStr(TOKEN)), connections=1)

    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    assert server.requests[-1].headers["proxy-authorization"].startswith("Basic ")
    sink.close()


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a", {}, None),
        ("http://a", {"http_proxy": "http://p:1"}, Proxy("http://p:1", "")),
        ("http://a", {"HTTP_PROXY": "p:1"}, Proxy("http://p:1", "")),
        ("http://a", {"https_proxy": "http://p:1"}, None),
        ("https://a", {"HTTPS_PROXY": "http://u:w@p:1"}, Proxy("http://p:1", "u:w")),
        ("https://a", {"ALL_PROXY": "http://p:1"}, Proxy("http://p:1", "")),
        ("http://a.b", {"http_proxy": "http://p:1", "no_proxy": "x, .b"}, None),
        ("http://b", {"http_proxy": "http://p:1", "no_proxy": "b"}, None),
        ("http://ab", {"http_proxy": "http://p:1", "no_proxy": "b"}, Proxy("http://p:1", "")),
        ("http://10.1.2.3", {"http_proxy": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://a", {"http_proxy": "http://p:1", "no_proxy": "*"}, None),
    ],
)
def test_which_proxy_the_environment_names(
    url: str, environ: dict[str, str], proxy: Proxy | None
) -> None:
    assert proxy_of(settings(url), environ) == proxy


def test_a_database_with_a_retention_policy_is_read_back(
    influx_server: InfluxServer, influx_database: str
) -> None:
    policy = f'CREATE RETENTION POLICY "week" ON "{influx_database}" DURATION 7d REPLICATION 1'
    influx_server.query(policy)
    line = f"{MEASUREMENT},pipeline=etl,query=q,tier=hot value=7000.0"
    url = f"{influx_server.direct_url}/write"
    where = {"db": influx_database, "rp": "week"}
    assert requests.post(url, params=where, data=line, timeout=5).status_code == 204

    reader = WatermarkReader(settings(influx_server.url), "etl")

    assert reader.read(f"{influx_database}/week", "q", "hot") == 7000
    assert reader.read(influx_database, "q", "hot") is None
    reader.close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bucket": "0123456789abcdef"}, "is the id of a bucket"),
        ({"bucket": "a/b/c"}, "database/retention policy"),
        ({"bucket": "/a"}, "database/retention policy"),
        ({"username": "u"}, "neither password nor password_file"),
        ({"password": SecretStr("p")}, "has a password but no username"),
        ({"username": "u", "password": SecretStr("p"), "token": SecretStr("t")}, "keep one"),
        ({"key_file": __file__}, "is given without cert_file"),
        ({"proxy_url": "http://u:p@host"}, "must not carry credentials"),
        ({"proxy_url": "socks5://host"}, "must begin with"),
    ],
)
def test_what_cannot_work_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings("http://a", **changed)
