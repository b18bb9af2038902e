"""deploy/kubernetes/etl.yaml: whole in itself, and the same deployment as docker-compose.yml's."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from common.config.pipeline import PipelineSettings
from common.config.reading.loading import load_settings
from common.runtime.http_server import service_routes
from common.runtime.readiness.health import Health
from common.runtime.service import SECRETS_OF
from deploy.image.secret_list import consumers
from devtools import PROJECT_ROOT
from devtools.kubernetes.rendered import MANIFESTS
from services.exporter.settings import load_settings as exporter_settings
from tests.unit.deploy.kubernetes.manifests import (
    SECRETS,
    Document,
    amount,
    container,
    documents,
    environment,
    named,
    pod,
    probes,
    problems,
    secret_files,
)

DOCUMENTS = documents(MANIFESTS.read_text(encoding="utf-8"))
DEPLOYMENTS = named(DOCUMENTS, "Deployment")
DOCKERFILE = (PROJECT_ROOT / "deploy/image/Dockerfile").read_text(encoding="utf-8")
COMPOSE = {
    name: service
    for file in ("docker-compose.monitoring.yml", "docker-compose.yml")
    for name, service in yaml.safe_load((PROJECT_ROOT / file).read_text())["services"].items()
}


def image_of(component: str) -> str:
    match = re.search(r"-(\w+):", container(DEPLOYMENTS[component])["image"])
    assert match
    return match[1]


def test_the_manifests_are_whole() -> None:
    assert problems(DOCUMENTS) == []


def test_they_are_the_pipeline() -> None:
    stages = {"extractor", "transformer", "loader", "verifier"}
    assert DEPLOYMENTS.keys() == {*stages, "etl-metrics"}
    assert named(DOCUMENTS, "Service").keys() == DEPLOYMENTS.keys()
    assert named(DOCUMENTS, "NetworkPolicy").keys() == DEPLOYMENTS.keys()
    assert named(DOCUMENTS, "PodDisruptionBudget").keys() == stages


@pytest.mark.parametrize("component", DEPLOYMENTS)
def test_images_and_commands_are_the_dockerfiles(component: str) -> None:
    own = container(DEPLOYMENTS[component])
    stage = re.search(
        rf"^FROM (\w+) AS {image_of(component)}-image$(.*?)(?=^FROM|\Z)",
        DOCKERFILE,
        re.MULTILINE | re.DOTALL,
    )
    assert stage
    assert f"services.{image_of(component)}" in stage[2]
    assert not own.keys() & {"command", "args"}
    base = re.search(
        r"^FROM installed AS stage$(.*?)(?=^FROM)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert base
    exposed = re.findall(r"EXPOSE (\d+)", stage[2] if stage[1] == "installed" else base[1])
    assert [str(port["containerPort"]) for port in own["ports"]] == exposed
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user
    context = pod(DEPLOYMENTS[component])["securityContext"]
    assert [str(context["runAsUser"]), str(context["runAsGroup"])] == list(user.groups())


@pytest.mark.parametrize("component", DEPLOYMENTS)
def test_limits_and_grace_are_those_of_compose(component: str) -> None:
    deployed, composed = DEPLOYMENTS[component], COMPOSE[component]
    default = re.compile(r"\$\{\w+:-(\w+)\}")

    def of_compose(part: str, name: str) -> str:
        return default.sub(r"\1", composed["deploy"]["resources"][part][name])

    resources = container(deployed)["resources"]
    assert amount(resources["limits"]["memory"]) == amount(f"{of_compose('limits', 'memory')}i")
    assert amount(resources["limits"]["cpu"]) == amount(of_compose("limits", "cpus"))
    reserved = amount(f"{of_compose('reservations', 'memory')}i")
    assert amount(resources["requests"]["memory"]) == reserved
    assert f"{pod(deployed)['terminationGracePeriodSeconds']}s" == composed["stop_grace_period"]


def test_pods_outlive_their_drain() -> None:
    drain_seconds = PipelineSettings.model_fields["drain_seconds"].default
    for component in DEPLOYMENTS.keys() - {"etl-metrics"}:
        assert pod(DEPLOYMENTS[component])["terminationGracePeriodSeconds"] > drain_seconds


@pytest.mark.parametrize("component", DEPLOYMENTS)
def test_it_is_given_the_secrets_that_compose_hands_it(component: str) -> None:
    handed = {one.name: set(one.secrets) for one in consumers(pipeline=True, tls=False)}
    keys = {key for _, key in secret_files(DEPLOYMENTS[component]).values()}
    # The sink's token is made by a job in compose, and lies in a volume of its own.
    sink = {"influxdb_token"} & keys
    assert bool(sink) is (component in {"loader", "verifier"})
    assert keys - sink == handed["exporter" if component == "etl-metrics" else component]


@pytest.mark.parametrize("component", DEPLOYMENTS)
def test_the_service_starts_with_its_environment_and_its_secrets(
    component: str, tmp_path: Path
) -> None:
    """Every variable is known to the settings, and every file that one names is mounted."""
    deployed = DEPLOYMENTS[component]
    for path in secret_files(deployed):
        file = tmp_path / Path(path).name
        file.write_text("a-secret")
        file.chmod(0o440)
    environ = {
        name: value.replace(SECRETS, str(tmp_path)) for name, value in environment(deployed).items()
    }
    if component == "etl-metrics":
        settings = exporter_settings([], environ)
        assert settings.redis_url == "redis://etl-metrics@redis:6379/0"
        assert settings.password == settings.redis_password == "a-secret"
        return
    config = tmp_path / "etl.yaml"
    config.write_text(named(DOCUMENTS, "ConfigMap")["etl-config"]["data"]["etl.yaml"])
    loaded = load_settings(config, environ, SECRETS_OF.get(component))
    assert loaded.pipeline.redis_url == f"redis://{component}@redis:6379/0"
    assert loaded.pipeline.http_port == container(deployed)["ports"][0]["containerPort"]
    assert loaded.pipeline.metrics_password.get_secret_value() == "a-secret"


def test_probes_ask_for_what_the_services_serve() -> None:
    served = service_routes(CollectorRegistry(), Health(60), dict).keys()
    for deployed in DEPLOYMENTS.values():
        paths = {kind: probe["httpGet"]["path"] for kind, probe in probes(deployed).items()}
        assert paths == {
            "startupProbe": "/livez",
            "livenessProbe": "/livez",
            "readinessProbe": "/readyz",
        }
        assert set(paths.values()) <= served


def test_the_configuration_is_the_projects_own() -> None:
    text = (PROJECT_ROOT / "config" / "etl.yaml").read_text(encoding="utf-8")
    assert named(DOCUMENTS, "ConfigMap")["etl-config"]["data"]["etl.yaml"] == text


def test_the_transformer_reaches_nothing_but_redis() -> None:
    rules = named(DOCUMENTS, "NetworkPolicy")["transformer"]["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == {53, 6379}


# --- the checks find what they are for -------------------------------------------------------


def _of(changed: list[Document], kind: str) -> Document:
    return named(changed, kind)["loader"]


BREAKS: dict[str, tuple[Callable[[list[Document]], Any], str]] = {
    "selector": (
        lambda d: _of(d, "Deployment")["spec"]["selector"]["matchLabels"].update(x="y"),
        "not of its own pods",
    ),
    "service": (lambda d: _of(d, "Service")["spec"]["selector"].update(x="y"), "of 0 objects"),
    "port of a service": (
        lambda d: _of(d, "Service")["spec"]["ports"][0].update(targetPort="web"),
        "ports that are not there: ['web']",
    ),
    "probe": (
        lambda d: container(_of(d, "Deployment"))["livenessProbe"]["httpGet"].update(port="web"),
        "livenessProbe names a port",
    ),
    "request": (
        lambda d: container(_of(d, "Deployment"))["resources"]["requests"].update(memory="2Gi"),
        "more memory than its limit",
    ),
    "mount": (
        lambda d: container(_of(d, "Deployment"))["volumeMounts"].pop(),
        "mounts ['config', 'tmp'], has",
    ),
    "config map": (
        lambda d: d.remove(named(d, "ConfigMap")["etl-config"]),
        "mounts etl-config, which is not there",
    ),
    "secret": (
        lambda d: container(_of(d, "Deployment"))["env"].append(
            {"name": "ETL__LOAD__INFLUXDB__CA_FILE", "value": f"{SECRETS}/other"}
        ),
        "/other, which is not mounted",
    ),
    "mode": (
        lambda d: pod(_of(d, "Deployment"))["volumes"][2]["projected"].update(defaultMode=0o444),
        "everybody may read",
    ),
    "profile": (
        lambda d: container(_of(d, "Deployment"))["securityContext"].update(
            allowPrivilegeEscalation=True
        ),
        "restricted profile",
    ),
    "links": (
        lambda d: pod(_of(d, "Deployment")).update(enableServiceLinks=True),
        "addresses of all Services",
    ),
    "name": (lambda d: d.append(_of(d, "Service")), "is there twice"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_the_checks_notice(broken: str) -> None:
    change, expected = BREAKS[broken]
    changed = copy.deepcopy(DOCUMENTS)
    change(changed)
    assert any(expected in problem for problem in problems(changed)), problems(changed)
