"""The Helm chart: its values are described and checked, and whatever they are it renders whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config.model import Settings
from common.config.reading.loading import load_settings
from common.runtime.service import SECRETS_OF
from devtools import PROJECT_ROOT
from devtools.kubernetes.rendered import MANIFESTS, render
from devtools.kubernetes.tools import CHART, ToolError, installed, lint, template, validate
from services.simulator.settings import OPTIONS as SIMULATOR
from tests.unit.deploy.kubernetes.manifests import (
    SECRETS,
    Document,
    container,
    documents,
    environment,
    named,
    pod,
    probes,
    problems,
    secret_files,
)

# What Chart.yaml admits at least, and the newest that kubernetes-validate knows.
OLDEST, NEWEST = "1.27", "1.37"
CUSTOM = ("ServiceMonitor", "PrometheusRule", "ScaledObject")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
# Reading the dashboards as YAML takes longest.
PLAIN = "grafana.dashboards.enabled=false,"
ALL = (
    "simulator.enabled=true,etlctl.enabled=true,serviceMonitor.enabled=true,"
    "prometheusRule.enabled=true,grafana.alerts.enabled=true"
)
VARIANTS = {
    "defaults": "loader.enabled=true",
    "everything": ALL,
    "hpa": "autoscaling.mode=hpa,autoscaling.labels.namespace=etl",
    "keda": "autoscaling.mode=keda,autoscaling.keda.authentication=prometheus",
    "TLS": "redis.url=rediss://{user}@redis:6379/0,redis.ca.secret=a,prometheus.ca.secret=b,"
    "influxdb.ca.secret=c",
    "no passwords": "redis.existingSecret=,prometheus.existingSecret=,metrics.existingSecret=",
    "several sources": "prometheus.url=,prometheus.username=,influxdb.url=",
    "neither policies nor budgets": "networkPolicy.enabled=false,podDisruptionBudget.enabled=false",
    "placed": "nodeSelector.disk=fast,podLabels.team=a,podAnnotations.b=c,priorityClassName=high,"
    "image.pullSecrets[0]=registry,tolerations[0].key=a,networkPolicy.scrapers[0].podSelector.matchLabels.x=y",
    "another name": "fullnameOverride=metrics",
    "push": "push.enabled=true,networkPolicy.senders[0].podSelector.matchLabels.x=y",
    "push with TLS": "push.enabled=true,push.tls.secret=d,serviceMonitor.enabled=true",
}
REFUSED = {
    "nosuch=1": "additional properties 'nosuch' not allowed",
    "loader.nosuch=1": "additional properties 'nosuch' not allowed",
    "image.pullPolicy=Sometimes": "/image/pullPolicy",
    "redis.url=http://redis": "/redis/url",
    "prometheus.url=prometheus:9090": "/prometheus/url",
    "influxdb.existingSecret=": "/influxdb/existingSecret",
    "autoscaling.mode=vpa": "/autoscaling/mode",
    "autoscaling.minReplicas=0": "/autoscaling/minReplicas",
    "loader.replicas=-1": "/loader/replicas",
    "loader.resources.limits.memory=lots": "/loader/resources/limits/memory",
    "networkPolicy.redis.ports[0]=0": "/networkPolicy/redis/ports/0",
    "push.existingSecret=": "/push/existingSecret",
    "push.port=80": "/push/port",
}

with_helm = pytest.mark.skipif(
    not installed(), reason="helm is not installed; `make manifests-check` installs it"
)


def _described(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of values that the schema does not describe, or below which it takes anything."""
    for name, value in schema.get("properties", {}).items():
        if value is True:
            continue  # as the component's definition has it
        if "description" not in value:
            yield f"{path}{name}"
        if "properties" in value and value.get("additionalProperties") is not False:
            yield f"{path}{name}.*"
        yield from _described(value, f"{path}{name}.")


def test_every_value_is_described() -> None:
    assert list(_described(SCHEMA)) == []
    for name, definition in SCHEMA["$defs"].items():
        assert list(_described(definition, f"{name}.")) == []


def test_every_value_has_a_default() -> None:
    def missing(schema: dict[str, Any], values: dict[str, Any], path: str) -> Iterator[str]:
        for name, value in schema.get("properties", {}).items():
            if name not in values:
                yield f"{path}{name}"
            elif value is not True:
                yield from missing(value, values[name], f"{path}{name}.")

    assert list(missing(SCHEMA, VALUES, "")) == ["global"]


def test_what_the_chart_takes_from_elsewhere_is_there() -> None:
    links = [path for path in (CHART / "files").iterdir() if path.is_symlink()]
    assert {path.name for path in links} == {"alerting", "dashboards", "etl.yaml", "rules"}
    for path in links:
        assert not path.readlink().is_absolute()
        assert path.resolve().is_relative_to(PROJECT_ROOT)
        assert path.exists()
    for folder, files in (
        ("rules", VALUES["prometheusRule"]["files"]),
        ("alerting", VALUES["grafana"]["alerts"]["files"]),
    ):
        there = {path.stem for path in (CHART / "files" / folder).iterdir()}
        assert set(files) <= there


@with_helm
def test_helm_finds_nothing_wrong() -> None:
    lint()
    lint("--set", ALL)


@with_helm
def test_the_plain_manifests_are_as_the_chart_renders_them() -> None:
    """Render again with `make manifests`."""
    assert MANIFESTS.read_text(encoding="utf-8") == render()


@with_helm
@pytest.mark.parametrize("values", REFUSED)
def test_bad_values_are_refused_by_name(values: str) -> None:
    with pytest.raises(ToolError, match="values don't meet the specifications") as refused:
        template("--set", values)
    assert REFUSED[values] in str(refused.value)


@with_helm
@pytest.mark.timeout(900)  # twenty processes, on a machine that does something else meanwhile
def test_every_variant_is_whole(tmp_path: Path) -> None:
    # Most objects are the same in several variants: each is held to the schemas once.
    different: list[Document] = []
    for variant, values in VARIANTS.items():
        found = documents(template("--set", PLAIN + values, release="metrics"))
        assert problems(found) == [], variant
        for one in found:
            if one["kind"] not in CUSTOM and one not in different:
                different.append(one)
    assert len(different) > 50
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(different))
    validate(path, OLDEST)
    validate(path, NEWEST)


@with_helm
def test_what_kubernetes_does_not_know_is_found(tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    text = MANIFESTS.read_text(encoding="utf-8")
    path.write_text(text.replace("maxUnavailable: 1", "maxUnavailabel: 1"))
    for version in (OLDEST, NEWEST):
        with pytest.raises(ToolError, match="'maxUnavailabel' was unexpected"):
            validate(path, version)


def test_the_oldest_version_is_the_charts() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


@with_helm
def test_dashboards_rules_and_alerts_are_those_of_the_project() -> None:
    found = documents(template("--set", ALL))
    maps = named(found, "ConfigMap")
    deploy = PROJECT_ROOT / "deploy"
    for path in (deploy / "grafana" / "dashboards").glob("*.json"):
        one = maps[f"etl-dashboard-{path.stem}"]
        assert one["data"] == {path.name: path.read_text(encoding="utf-8")}
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
    for name in VALUES["grafana"]["alerts"]["files"]:
        path = deploy / "grafana" / "provisioning" / "alerting" / f"{name}.yaml"
        assert maps[f"etl-alerts-{name}"]["data"] == {path.name: path.read_text(encoding="utf-8")}
    for name in VALUES["prometheusRule"]["files"]:
        text = (deploy / "prometheus" / "rules" / f"{name}.yml").read_text(encoding="utf-8")
        assert named(found, "PrometheusRule")[f"etl-{name}"]["spec"] == yaml.safe_load(text)


@with_helm
def test_another_data_source_is_named_in_dashboards_and_alerts() -> None:
    text = template("--set", f"{ALL},grafana.datasourceUid=mine")
    assert "etl-prometheus" not in text
    assert '"uid": "mine"' in text


@with_helm
def test_service_monitors_give_the_jobs_that_rules_know() -> None:
    monitors = named(documents(template("--set", PLAIN + ALL)), "ServiceMonitor")
    jobs = {
        name: one["spec"]["endpoints"][0]["relabelings"][0]["replacement"]
        for name, one in monitors.items()
    }
    config = (PROJECT_ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    scraped = {job["job_name"] for job in yaml.safe_load(config)["scrape_configs"]}
    assert {*jobs.values(), "prometheus"} == scraped
    assert jobs["simulator"] == "test-app"


@with_helm
@pytest.mark.parametrize("mode", ["hpa", "keda"])
def test_transformer_and_loader_follow_the_stream_before_them(mode: str) -> None:
    found = documents(template("--set", f"{PLAIN}autoscaling.mode={mode}"))
    kind = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}[mode]
    scalers = named(found, kind)
    assert scalers.keys() == {"transformer", "loader"}
    for component, stream in (("transformer", "raw"), ("loader", "points")):
        assert "replicas" not in named(found, "Deployment")[component]["spec"]
        spec = scalers[component]["spec"]
        if mode == "hpa":
            external = spec["metrics"][0]["external"]
            assert external["metric"]["selector"]["matchLabels"] == {"stream": stream}
            assert external["target"]["averageValue"] == "33554432"
        else:
            metadata = spec["triggers"][0]["metadata"]
            assert metadata["query"] == f'max(etl_stream_bytes{{stream="{stream}"}})'
            assert metadata["threshold"] == "33554432"
    assert "replicas" in named(found, "Deployment")["extractor"]["spec"]


@with_helm
def test_a_changed_configuration_starts_new_pods(tmp_path: Path) -> None:
    def checksums(text: str) -> dict[str, str]:
        config = tmp_path / "etl.yaml"
        config.write_text(text)
        rendered = template("--set-file", f"config={config}", "--set", PLAIN)
        assert named(documents(rendered), "ConfigMap")["etl-config"]["data"]["etl.yaml"] == text
        return {
            name: one["spec"]["template"]["metadata"]["annotations"].get("checksum/config")
            for name, one in named(documents(rendered), "Deployment").items()
        }

    # What Helm's templates would take for their own stays as it is.
    before = checksums("transform:\n  relabel: [{replacement: '${1}{{ x }}'}]\n")
    after = checksums("transform: {}\n")
    assert {name for name in before if before[name] != after[name]} == {
        *("extractor", "transformer", "loader", "verifier")
    }


@with_helm
def test_variables_of_a_component_go_before_the_charts_own() -> None:
    setting = f"{PLAIN}loader.env.ETL__PIPELINE__LOG_LEVEL=DEBUG"
    deployments = named(documents(template("--set", setting)), "Deployment")
    assert environment(deployments["loader"])["ETL__PIPELINE__LOG_LEVEL"] == "DEBUG"
    assert environment(deployments["extractor"])["ETL__PIPELINE__LOG_LEVEL"] == "INFO"


@with_helm
def test_the_simulator_is_asked_for_the_one_page_that_is_open() -> None:
    values = f"{PLAIN}simulator.enabled=true"
    own = named(documents(template("--set", values)), "Deployment")["simulator"]
    assert {probe["httpGet"]["path"] for probe in probes(own).values()} == {"/health"}
    known = {SIMULATOR.variable(option.name) for option in SIMULATOR.options}
    assert environment(own).keys() <= known


@with_helm
def test_what_is_pushed_reaches_the_extractors_alone() -> None:
    values = f"{PLAIN}push.port=9999,{VARIANTS['push with TLS']}"
    found = documents(template("--set", values))
    own = named(found, "Deployment")["extractor"]
    variables = {
        name.removeprefix("ETL__EXTRACT__PUSH__"): value
        for name, value in environment(own).items()
        if name.startswith("ETL__EXTRACT__PUSH__") and _is_known(name)
    }
    assert variables.pop("PORT") == "9999"
    assert {name: secret_files(own)[path] for name, path in variables.items()} == {
        "PASSWORD_FILE": ("etl-secrets", "metrics_password"),
        "CERT_FILE": ("d", "tls.crt"),
        "KEY_FILE": ("d", "tls.key"),
    }
    ports = named(found, "Service")["etl-push"]["spec"]["ports"]
    assert ports == [{"name": "push", "port": 9999, "targetPort": "push"}]
    for name, other in named(found, "Deployment").items():
        assert (len(container(other)["ports"]) == 2) is (name == "extractor")
        assert ("push" in str(container(other)["env"]).lower()) is (name == "extractor")


@with_helm
def test_with_tls_every_variable_is_known_to_the_settings() -> None:
    for name, own in named(
        documents(template("--set", f"{PLAIN}etlctl.enabled=true,{VARIANTS['TLS']}")), "Deployment"
    ).items():
        found = environment(own)
        assert found["ETL__PIPELINE__REDIS_URL"] == f"rediss://{name}@redis:6379/0"
        for variable in found:
            assert variable.startswith("ETL_METRICS_") or _is_known(variable), variable
        reads = {
            "prometheus": "ETL__EXTRACT__AUTH__CA_FILE",
            "influxdb": "ETL__LOAD__INFLUXDB__CA_FILE",
        }
        mounted = {Path(path).name for path in secret_files(own)}
        for server, variable in reads.items():
            assert (variable in found) is (f"{server}_ca.crt" in mounted)


def _is_known(variable: str) -> bool:
    model: Any = Settings
    for key in variable.removeprefix("ETL__").lower().split("__"):
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return False
        model = field.annotation
    return True


SOURCES = f"""\
extract:
  sources:
    - {{name: a, url: 'http://a:1', labels: {{site: a}}}}
    - name: b
      url: http://b:1
      labels: {{site: b}}
      auth: {{bearer_token_file: {SECRETS}/prometheus_password}}
  queries: [{{name: up, select: up}}]
load: {{influxdb: {{url: 'http://influxdb:8086', org: o, bucket: b}}}}
"""


@with_helm
def test_etl_yaml_names_several_sources_and_the_token_of_one(tmp_path: Path) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text(SOURCES.replace(SECRETS, str(tmp_path)))
    values = f"{PLAIN}etlctl.enabled=true,{VARIANTS['several sources']}"
    found = documents(template("--set-file", f"config={config}", "--set", values))
    for component in ("extractor", "transformer", "loader", "verifier", "etlctl"):
        deployed = named(found, "Deployment")[component]
        for path in secret_files(deployed):
            file = tmp_path / Path(path).name
            file.write_text("a-secret")
            file.chmod(0o440)
        environ = {
            name: value.replace(SECRETS, str(tmp_path))
            for name, value in environment(deployed).items()
        }
        extract = load_settings(config, environ, SECRETS_OF.get(component)).extract
        assert [one.name for one in extract.sources] == ["a", "b"]
        if component in ("extractor", "verifier", "etlctl"):
            assert extract.sources[1].auth.bearer_token.get_secret_value() == "a-secret"
        for file in tmp_path.glob("*_*"):  # each has its own
            file.unlink()


@with_helm
def test_keda_needs_an_address_where_etl_yaml_names_the_source() -> None:
    values = f"{PLAIN}autoscaling.mode=keda,{VARIANTS['several sources']}"
    with pytest.raises(ToolError, match=r"autoscaling\.keda\.prometheusUrl: is needed"):
        template("--set", values)
    mine = "autoscaling.keda.prometheusUrl=http://mine:9090"
    for scaler in named(documents(template("--set", f"{values},{mine}")), "ScaledObject").values():
        (trigger,) = scaler["spec"]["triggers"]
        assert trigger["metadata"]["serverAddress"] == "http://mine:9090"


@with_helm
def test_the_operators_pod_waits_for_commands_with_secrets_of_its_own() -> None:
    own = named(documents(template("--set", f"{PLAIN}etlctl.enabled=true")), "Deployment")["etlctl"]
    assert container(own)["command"] == ["sleep", "infinity"]
    assert {key for _, key in secret_files(own).values()} == {
        *("redis_etlctl_password", "prometheus_readonly_password", "influxdb_token")
    }
    assert pod(own)["securityContext"]["runAsNonRoot"]
