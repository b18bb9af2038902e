"""Each way to the servers: authentication, TLS, IPv6, path prefixes; a refusal is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.nginx import NginxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob, ServerTls
from devtools.servers.waiting import wait_until
from tests.support.certificates import certificates
from tests.support.secret_folders import Capture, run

PASSWORD = "pa55:w@rd"


class Front(NginxServer):
    """Both servers on IPv6, below path prefixes; below ``/tenant`` for one tenant alone."""

    def __init__(
        self, toolbox: Toolbox, folder: Path, prometheus_url: str, influx_url: str
    ) -> None:
        super().__init__(toolbox, "front", folder)
        self._prometheus_url, self._influx_url = prometheus_url, influx_url

    @property
    def url(self) -> str:
        return f"http://[::1]:{self.port}"

    def config_text(self) -> str:
        return self.within_folder(
            f"server {{ listen [::1]:{self.port};\n"
            f"location /prometheus/ {{ proxy_pass {self._prometheus_url}/; }}\n"
            'location /tenant/ { if ($http_x_scope_orgid != "a") { return 401 "no org id"; }\n'
            'if ($arg_namespace != "shop") { return 401 "no namespace"; }\n'
            f"proxy_pass {self._prometheus_url}/; }}\n"
            f"location /influx/ {{ proxy_pass {self._influx_url}/; }}\n}}"
        )

    def probe(self) -> str | None:
        return None


@pytest.fixture
def front(
    toolbox: Toolbox,
    tmp_path: Path,
    prometheus_server: PrometheusServer,
    influx_server: InfluxServer,
) -> Iterator[Front]:
    servers = prometheus_server.url, influx_server.url
    with Front(toolbox, tmp_path / "front", *servers) as server:
        scraped(prometheus_server)
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], str]:
    """``secret(text)`` → a file that holds it."""

    def write(text: str) -> str:
        file = tmp_path / f"secret-{len(text)}"
        file.touch(mode=0o600)
        file.write_text(f"{text}\n", encoding="utf-8")
        return str(file)

    return write


def scraped(server: PrometheusServer) -> None:
    wait_until(
        lambda: server.query("count_over_time(up[10s]) > 2 and up offset 5s"),
        deadline_seconds=60,
        what="Prometheus has scraped itself",
    )


def until_it_flows(capsys: Capture, folder: Path, options: list[str]) -> str:
    """Write a configuration, check it, read with it; the configuration."""
    file = folder / "etl.yaml"
    for arguments in (
        ("init", "--yes", *options),
        ("config", "check", "--online"),
        ("once", "--query", "health", "--from", "-10s", "--write"),
    ):
        code, out, err = run(capsys, *arguments, "--config", str(file))
        assert code == 0 and "warning" not in err, out + err
    assert "would write" not in out and "written: 0 points" not in out, out
    return file.read_text(encoding="utf-8")


def refused(capsys: Capture, folder: Path, *options: str) -> tuple[int, str]:
    code, out, err = run(capsys, "init", "--yes", "--config", str(folder / "etl.yaml"), *options)
    assert len(err.splitlines()) == 1 and "Traceback" not in out + err, err
    assert not (folder / "etl.yaml").exists()
    return code, err


def test_ipv6_and_path_prefixes(
    capsys: Capture, tmp_path: Path, front: Front, influx_database: str
) -> None:
    for end in ("", "/"):
        text = until_it_flows(
            capsys,
            tmp_path,
            [
                *("--prometheus-url", f"{front.url}/prometheus{end}", "--force"),
                *("--influxdb-url", f"{front.url}/influx{end}", "--bucket", influx_database),
            ],
        )
        assert f"url: '{front.url}/influx{end}'" in text
    code, said = refused(capsys, tmp_path / "other", "--prometheus-url", front.url)
    assert code == ExitCode.DEPENDENCY
    assert "there is no Prometheus query API at this address (--prometheus-url)" in said


def test_one_tenant_of_many(
    capsys: Capture,
    tmp_path: Path,
    front: Front,
    influx_server: InfluxServer,
    influx_database: str,
    secret: Callable[[str], str],
) -> None:
    where = ("--prometheus-url", f"{front.url}/tenant")
    option, param = "--prometheus-header-file", ("--prometheus-param", "namespace=shop")
    tenant = (option, f"X-Scope-OrgID={secret('a')}")
    for options, says in (([], "no org id"), ([*tenant], "no namespace")):
        code, said = refused(capsys, tmp_path, *where, *options)
        assert code == ExitCode.DEPENDENCY and says in said, said
    for wrong, says in (
        ([option, "secret"], f"{option}: must be a name and a text with = between them"),
        ([option, "X-A=/none"], f"{option}: names /none, which cannot be read"),
        ([*tenant, *tenant], f"{option}: X-Scope-OrgID is given twice"),
        (["--prometheus-param", "query=up"], "--prometheus-param: is set by each request itself"),
    ):
        code, said = refused(capsys, tmp_path, *where, *wrong)
        assert code == ExitCode.CONFIG and says in said and "secret" not in said, said
    sink = ("--influxdb-url", influx_server.url, "--bucket", influx_database)
    text = until_it_flows(capsys, tmp_path, [*where, *tenant, *param, *sink])
    assert "  params:\n    'namespace': 'shop'\n" in text


def test_basic_authentication(
    capsys: Capture,
    tmp_path: Path,
    make_prometheus: Callable[..., PrometheusServer],
    influx_server: InfluxServer,
    influx_database: str,
    secret: Callable[[str], str],
) -> None:
    password = secret(PASSWORD)
    job = ScrapeJob("prometheus", username="etl", password_file=Path(password))
    server = make_prometheus(basic_auth=("etl", PASSWORD), jobs=(job,))
    server.set_targets("prometheus", [f"127.0.0.1:{server.port}"])
    sink = ("--influxdb-url", influx_server.url, "--bucket", influx_database)
    user = ("--prometheus-url", server.url, "--prometheus-username", "etl")

    code, said = refused(capsys, tmp_path, *user[:2])
    assert code == ExitCode.DEPENDENCY
    assert "credentials (--prometheus-username or --prometheus-bearer-token-file)" in said
    code, said = refused(capsys, tmp_path, *user, "--prometheus-password-file", secret("wrong"))
    assert code == ExitCode.DEPENDENCY and "401" in said and "wrong" not in said
    code, said = refused(capsys, tmp_path, *user)
    assert code == ExitCode.CONFIG
    assert said.startswith("etlctl: --prometheus-username: has a username but neither password")
    in_url = server.url.replace("://", "://etl:hunter2@")
    code, said = refused(capsys, tmp_path, "--prometheus-url", in_url)
    assert code == ExitCode.CONFIG and "hunter2" not in said
    assert "must not carry credentials: they belong in --prometheus-username" in said

    scraped(server)
    options = [*user, "--prometheus-password-file", password, *sink]
    assert PASSWORD not in until_it_flows(capsys, tmp_path, options)


def test_authorities_of_our_own(
    capsys: Capture,
    tmp_path: Path,
    make_prometheus: Callable[..., PrometheusServer],
    influx_server: InfluxServer,
    influx_database: str,
) -> None:
    (tmp_path / "others").mkdir()
    ours, others = certificates(tmp_path), certificates(tmp_path / "others")
    files = (ours / f"tls_{name}" for name in ("prometheus.crt", "prometheus.key", "ca.crt"))
    job = ScrapeJob(
        "prometheus",
        settings={"scheme": "https", "tls_config": {"ca_file": str(ours / "tls_ca.crt")}},
    )
    server = make_prometheus(tls=ServerTls(*files), jobs=(job,))
    server.set_targets("prometheus", [f"127.0.0.1:{server.port}"])
    sink = ("--influxdb-url", influx_server.url, "--bucket", influx_database)
    where = ("--prometheus-url", server.url)

    for ca_file in ([], ["--prometheus-ca-file", str(others / "tls_ca.crt")]):
        code, said = refused(capsys, tmp_path, *where, *ca_file)
        assert code == ExitCode.DEPENDENCY
        assert "cannot be trusted: " in said and "(--prometheus-ca-file)" in said, said
    code, said = refused(capsys, tmp_path, *where, "--prometheus-ca-file", "/none")
    assert code == ExitCode.CONFIG
    assert said.startswith("etlctl: --prometheus-ca-file: names /none, which cannot be read")

    scraped(server)
    ca_file = ["--prometheus-ca-file", str(ours / "tls_ca.crt")]
    # What it is told of a sink that it does not trust.
    code, said = refused(capsys, tmp_path, *where, *ca_file, "--influxdb-url", server.url)
    assert code == ExitCode.DEPENDENCY and "(--influxdb-ca-file is not set)" in said, said
    assert "ca_file: '" in until_it_flows(capsys, tmp_path, [*where, *ca_file, *sink])
