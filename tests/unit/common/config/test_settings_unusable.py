"""What no service could start or work with is refused when the configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from common.config.fields import is_host
from tests.support.certificates import certificates
from tests.support.settings_files import EXTRACT, LOAD, MINIMAL, load, problems, secret_file


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    return certificates(tmp_path)


def auth(tls: Path, **files: str) -> str:
    given = ", ".join(f"{key}: {tls / name}" for key, name in files.items())
    return f"extract: {{prometheus_url: 'https://p', auth: {{{given}}}}}\n{LOAD}"


@pytest.mark.parametrize("content", [b"", b"nothing\n", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_authorities_hold_a_certificate(tmp_path: Path, tls: Path, content: bytes) -> None:
    (tls / "none").write_bytes(content)

    def given(name: str) -> str:
        path = tls / name
        return (
            f"extract: {{prometheus_url: 'http://p', auth: {{ca_file: {path}}}}}\n"
            f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, ca_file: {path}}}}}\n"
            f"pipeline: {{redis_url: 'rediss://r/0', redis_ca_file: {path}}}\n"
        )

    assert problems(tmp_path, given("tls_ca.crt")) == []
    found = problems(tmp_path, given("none"))
    starts = ("1: extract.auth.ca_file", "2: load.influxdb.ca_file", "3: pipeline.redis_ca_file")
    assert len(found) == len(starts)
    for problem, start in zip(found, starts, strict=True):
        assert problem.startswith(
            f"etl.yaml:{start}: names certificates/none, which holds no certificate that can be"
        )
    assert problems(tmp_path, given("none"), secrets=()) == []  # who reads none need not mind


def test_a_client_certificate_has_its_key(tmp_path: Path, tls: Path) -> None:
    both = (tls / "tls_redis.crt").read_bytes() + (tls / "tls_redis.key").read_bytes()
    (tls / "both.pem").write_bytes(both)
    (tls / "both.pem").chmod(0o600)
    fits = auth(tls, cert_file="tls_redis.crt", key_file="tls_redis.key")
    assert problems(tmp_path, fits) == []
    assert problems(tmp_path, auth(tls, cert_file="both.pem")) == []

    mismatch = auth(tls, cert_file="tls_redis.crt", key_file="tls_prometheus.key")
    (problem,) = problems(tmp_path, mismatch)
    assert problem.startswith(
        "etl.yaml:1: extract.auth.cert_file: names certificates/tls_redis.crt and "
        "certificates/tls_prometheus.key: no certificate with its key that can be used: "
    )
    assert problem.endswith("KEY_VALUES_MISMATCH")
    (problem,) = problems(tmp_path, auth(tls, cert_file="tls_redis.crt"))
    assert "names certificates/tls_redis.crt: no certificate with its key" in problem
    assert problems(tmp_path, mismatch, secrets=("load",)) == []

    files = ", ".join(f"{key}: {tls / 'tls_redis.crt'}" for key in ("ca_file", "cert_file"))
    sink = f"{EXTRACT}load: {{influxdb: {{url: 'https://i', org: o, bucket: b, {files}}}}}\n"
    (problem,) = problems(tmp_path, sink)
    assert problem.startswith("etl.yaml:2: load.influxdb.cert_file: names certificates/tls_redis")
    assert problems(tmp_path, sink, secrets=("extract",)) == []


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(
    tmp_path: Path, tls: Path
) -> None:
    key = serialization.load_pem_private_key((tls / "tls_redis.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tls / "locked.key").write_bytes(locked)
    (tls / "locked.key").chmod(0o600)
    (problem,) = problems(tmp_path, auth(tls, cert_file="tls_redis.crt", key_file="locked.key"))
    assert problem.endswith("the key must not have a passphrase")


@pytest.mark.parametrize("token", ["tökén", "tok😀n"])
def test_a_token_goes_into_a_header(tmp_path: Path, token: str) -> None:
    why = "has characters that no HTTP header can carry"
    file = secret_file(tmp_path, f"{token}\n".encode())
    text = f"{EXTRACT}load: {{influxdb: {{url: 'http://i', org: o, bucket: b, %s}}}}\n"
    assert problems(tmp_path, text % f"token: {token}") == [
        f"etl.yaml:2: load.influxdb.token: {why}"
    ]
    assert problems(tmp_path, text % f"token_file: {file}") == [
        f"etl.yaml:2: load.influxdb.token_file: names secret, which {why}"
    ]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        *((name, True) for name in ("redis", "a_b.svc.", "größe.example", "xn--gre-6ka8i.example")),
        *((address, True) for address in ("0.0.0.0", "127.1", "0", "::", "::1", "fe80::1%eth0")),
        *((name, False) for name in ("", "a..b", "a" * 64, "a b", "http://a", "a/b", ".", "a,b")),
        *((address, False) for address in ("999.1.1.1", "1.2.3.4.5", ":::", "[::1]", "a:80")),
    ],
)
def test_hosts(tmp_path: Path, text: str, valid: bool) -> None:
    assert is_host(text) is valid
    found = problems(tmp_path, f"{MINIMAL}pipeline: {{http_host: '{text}'}}\n")
    assert (
        found == [] if valid else [problem for problem in found if "pipeline.http_host" in problem]
    )


@pytest.mark.parametrize("url", ["http://a..b", "http://" + "a" * 64, "http://1.2.3.999:80"])
def test_urls_name_hosts_that_can_be_looked_up(tmp_path: Path, url: str) -> None:
    found = problems(tmp_path, f"extract: {{prometheus_url: '{url}'}}\n{LOAD}")
    assert found == [
        "etl.yaml:1: extract.prometheus_url: names a host that is neither a host name nor an IP "
        "address"
    ]


@pytest.mark.parametrize("key", ["log_file", "dead_letters.mirror_path"])
def test_files_that_nobody_could_write_are_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()

    def found(path: str) -> list[str]:
        *section, name = key.split(".")
        given = f'{name}: "{path}"'
        given = f"{section[0]}: {{{given}}}" if section else given
        return problems(tmp_path, f"{MINIMAL}pipeline: {{{given}}}\n")

    place = f"etl.yaml:3: pipeline.{key}: "
    assert found(f"{tmp_path}/new/{{service}}.log") == []
    assert found(f"{tmp_path}/file") == []
    assert found("a\\0b") == [f"{place}must not hold line breaks or control characters"]
    assert found(str(tmp_path)) == [f"{place}names {tmp_path}, which is a directory"]
    assert found(f"{tmp_path}/file/a/b.log") == [
        f"{place}names file/a/b.log, but {tmp_path}/file is no directory".replace(
            f"but {tmp_path}/", "but "
        )
    ]


def test_what_is_usable_is_kept_as_it_is(tmp_path: Path) -> None:
    text = f"{MINIMAL}pipeline: {{http_host: '::1', log_file: 'logs/{{service}}.log'}}\n"
    pipeline = load(tmp_path, text).pipeline
    assert (pipeline.http_host, pipeline.log_file) == ("::1", "logs/{service}.log")


@pytest.mark.parametrize(
    ("added", "wanted"),
    [
        ("verify: {cpu_share: yes}", "verify.cpu_share: must be a number, not true"),
        ("verify: {cpu_share: 0}", "verify.cpu_share: must be greater than 0, not 0"),
    ],
)
def test_a_share_of_a_core_is_a_number(tmp_path: Path, added: str, wanted: str) -> None:
    assert problems(tmp_path, f"{MINIMAL}{added}\n") == [f"etl.yaml:3: {wanted}"]


def test_how_many_there_may_be_is_told_like_everything_else(tmp_path: Path) -> None:
    urls = ", ".join(f"'http://i{number}'" for number in range(17))
    load_section = (
        f"load: {{influxdb: {{urls: [{urls}], org: o, bucket: b}},"
        " bucket_from: {label: team, buckets: {}}}\n"
    )
    assert problems(tmp_path, EXTRACT + load_section) == [
        "etl.yaml:2: load.influxdb.urls: must have at most 16 items, not 17",
        "etl.yaml:2: load.bucket_from.buckets: must have at least 1 item, not 0",
    ]
