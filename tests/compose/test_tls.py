"""The deployment with deploy/compose/tls.yml: nobody is spoken to in plain, and all of it works."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from etlctl.secrets.tls import SERVERS
from tests.compose import hardening
from tests.compose.project import STAGES, Project

pytestmark = [pytest.mark.tls, pytest.mark.timeout(300)]

OTHERS = ("etl-metrics", "verifier", *STAGES)
PUBLISHED = ("PROMETHEUS_PORT", "SIMULATOR_PORT")
# Prints how Redis responds to a client that is set up as the arguments say.
PING = """
import json, sys, redis
url, options = sys.argv[1], json.loads(sys.argv[2])
password = open("/run/secrets/redis_etlctl_password").read().strip()
try:
    print(redis.Redis.from_url(url, password=password, socket_timeout=5, **options).ping())
except redis.exceptions.ConnectionError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole deployment with TLS, up and healthy."""
    with Project(tmp_path_factory.mktemp("tls"), tls=True) as project:
        yield project


def servers(project: Project) -> list[str]:
    """The services that speak TLS, as far as this project runs them."""
    return [name for name in SERVERS.values() if project.containers(name)]


def test_all_of_it_is_healthy(project: Project) -> None:
    assert {"redis", "prometheus", "etl-simulator"} <= set(servers(project))
    for service in (*servers(project), *OTHERS):
        assert project.health(project.container(service)) == "healthy", service


def test_samples_flow_and_are_proven(project: Project) -> None:
    with project.proven():
        project.flows(1_000)


def test_every_target_is_scraped(project: Project) -> None:
    jobs = {"prometheus", "test-app", *OTHERS}
    project.wait(
        lambda: {row["metric"]["job"] for row in project.query("up == 1")} >= jobs,
        f"Prometheus scrapes {', '.join(sorted(jobs))}",
    )


@pytest.mark.parametrize("variable", PUBLISHED)
def test_plain_http_is_refused_and_so_is_who_knows_no_password(
    project: Project, variable: str
) -> None:
    url = f"{project.address(variable)}/metrics"
    assert url.startswith("https:")
    assert project.get(url)[0] == 401
    with pytest.raises(URLError) as caught:  # who does not know the authority
        urlopen(url, timeout=10, context=ssl.create_default_context())
    assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)
    try:
        status, _ = project.get(url.replace("https:", "http:"))
    except OSError:
        return  # the connection was closed
    assert status == 400  # Go's own response to HTTP where TLS is spoken


@pytest.mark.parametrize(
    ("url", "options", "wanted"),
    [
        ("rediss://etlctl@redis:6379/0", {"ssl_ca_certs": "/run/secrets/tls_ca.crt"}, "True"),
        ("rediss://etlctl@redis:6379/0", {}, "ConnectionError"),
        ("redis://etlctl@redis:6379/0", {}, "ConnectionError"),
    ],
    ids=["with the authority", "without", "plain"],
)
def test_redis_speaks_tls_only(
    project: Project, url: str, options: dict[str, str], wanted: str
) -> None:
    said = project.docker("exec", project.tool, "python", "-c", PING, url, json.dumps(options))
    assert said.split()[0] == wanted, said


def test_nobody_is_handed_the_key_of_another(project: Project) -> None:
    keys = {
        service: {
            name
            for name in project.docker(
                "exec", project.container(service), "ls", "/run/secrets"
            ).split()
            if name.endswith(".key")
        }
        for service in (*servers(project), *OTHERS)
    }
    wanted = {service: f"tls_{service}.key" for service in servers(project)}
    assert keys == {service: {wanted[service]} if service in wanted else set() for service in keys}


def test_it_is_as_confined_as_without(project: Project) -> None:
    for service in (*servers(project), *OTHERS):
        assert hardening.ways_out(project.inspect(project.container(service))) == [], service


def test_a_scenario_is_switched_from_inside(project: Project) -> None:
    assert json.loads(project.etlctl("simulate", "--json"))


def test_renewed_certificates_are_used(project: Project) -> None:
    """The commands are those that ``secrets rotate`` prints, without who does not run here."""
    before = seen_certificate(project)
    with project.proven():
        said = project.etlctl_here("secrets", "rotate", "tls", "--dir", str(project.secrets_dir))
        assert "docker compose run --rm --no-deps secrets" in said
        project.compose("run", "--rm", "--no-deps", "secrets")
        project.compose("restart", *servers(project))
        project.wait(
            lambda: all(
                project.health(project.container(service)) == "healthy"
                for service in (*servers(project), *OTHERS)
            ),
            "healthy with new certificates",
        )
        project.flows(200)
    assert seen_certificate(project) != before


def seen_certificate(project: Project) -> str:
    """The certificate that Prometheus shows."""
    return ssl.get_server_certificate(
        ("127.0.0.1", project.ports["PROMETHEUS_PORT"]),
        ca_certs=str(project.secrets_dir / "tls_ca.crt"),
    )
