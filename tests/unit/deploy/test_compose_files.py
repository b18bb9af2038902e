"""What the compose files promise, checked without an engine; tests/compose tries it on one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import load_settings
from deploy.image.receiver_secrets import RECEIVERS
from deploy.image.secret_list import consumers
from devtools import PROJECT_ROOT

ROOT = PROJECT_ROOT
MAIN = ("docker-compose.yml", "docker-compose.monitoring.yml")
TLS = "deploy/compose/tls.yml"
WITH_PIPELINE = "deploy/compose/monitoring-with-pipeline.yml"
SENTINELS = "deploy/compose/redis-sentinel.yml"
ALL = (*MAIN, "deploy/compose/stand-ins.yml", TLS, WITH_PIPELINE, SENTINELS)
ONE_SHOTS = {"secrets", "influxdb-init", "etlctl"}
SCALED = {"extractor", "transformer", "loader"}
STACK_OF_FOUR = {"prometheus", "grafana", "etl-simulator", "etl-metrics"}
VARIABLE = re.compile(r"\$\{(\w+)")


def document(name: str) -> dict[str, Any]:
    """A compose file as data."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    """Every service of the deployment."""
    return {name: service for file in MAIN for name, service in document(file)["services"].items()}


def test_the_monitoring_stack_is_four_services() -> None:
    assert set(document(MAIN[1])["services"]) - ONE_SHOTS == STACK_OF_FOUR


def test_every_variable_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/deployment.md").read_text()))
    for name in ALL:
        used = set(VARIABLE.findall((ROOT / name).read_text()))
        assert used <= documented, f"{name}: {sorted(used - documented)}"


@pytest.mark.parametrize("name", sorted(services()))
def test_secrets_are_mounted_as_they_were_handed_out(name: str) -> None:
    mounts = [str(mount).split(":") for mount in services()[name].get("volumes", ())]
    for volume, target, options in (m for m in mounts if m[1] == "/run/secrets"):
        assert volume.startswith("secrets-"), target
        assert set(options.split(",")) == {"ro", "nocopy"}


def test_every_variable_has_a_default() -> None:
    for name in ALL:
        text = (ROOT / name).read_text()
        assert not re.findall(r"\$\{\w+\}|\$\w", text), name


@pytest.mark.parametrize("name", sorted(services()))
def test_service_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["ulimits"] == {"core": 0}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "cpus", "pids"}
    assert "container_name" not in service
    assert "privileged" not in service
    if name not in ONE_SHOTS:
        assert service["restart"] == "unless-stopped"
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= service[
            "healthcheck"
        ].keys()
        assert "stop_grace_period" in service
        assert service["init"] is True, "SIGTERM must end it before it has handlers"


def test_only_what_a_person_needs_is_published_and_only_on_this_machine() -> None:
    published = {name: service.get("ports", []) for name, service in services().items()}
    assert {name for name, ports in published.items() if ports} == STACK_OF_FOUR
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:${") for port in ports)


def test_grafana_tells_nobody_anything() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_SECRET_KEY__FILE"] == "/run/secrets/grafana_secret_key"
    assert environment["GF_SECURITY_DISABLE_GRAVATAR"] == "true"
    assert environment["GF_SNAPSHOTS_EXTERNAL_ENABLED"] == "false"
    tls = document(TLS)["services"]["grafana"]["environment"]
    assert tls["GF_SECURITY_COOKIE_SECURE"] == "true"


def test_only_who_talks_to_servers_elsewhere_has_a_way_out() -> None:
    networks: dict[str, dict[str, Any]] = {}
    member_of: dict[str, set[str]] = {}
    for file in (*MAIN, WITH_PIPELINE):
        networks |= {
            name: found or {} for name, found in document(file).get("networks", {}).items()
        }
        for name, service in document(file)["services"].items():
            member_of.setdefault(name, set()).update(service.get("networks", ()))
    untranslated = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    outward = {
        name
        for name, found in networks.items()
        if not found.get("internal") and found.get("driver_opts") != untranslated
    }
    assert outward == {"frontend"}
    assert {name for name, found in networks.items() if found.get("internal")} == {
        *("backend", "scrape")
    }
    # A container of several networks goes out by the one whose name comes first.
    assert min(networks.keys() & {"frontend", "published"}) == "frontend"
    assert {name for name, its in member_of.items() if its & outward} == {
        *("prometheus", "grafana", "extractor", "loader", "verifier", "influxdb-init", "etlctl")
    }
    for name in ("redis", "influxdb"):
        assert member_of[name] == {"backend"}
    assert member_of["transformer"] == {"scrape", "backend"}


@pytest.mark.parametrize("files", [MAIN, (*MAIN, TLS)], ids=["plain", "with TLS"])
def test_every_process_of_the_pipeline_names_the_same_source_and_sink(
    files: tuple[str, ...],
) -> None:
    """Who names others pauses (``etlctl identity``)."""
    ends = set()
    for name in (*SCALED, "etlctl"):
        environment: dict[str, str] = {}
        for file in files:
            environment |= document(file)["services"].get(name, {}).get("environment", {})
        ends.add(
            (environment["ETL__EXTRACT__PROMETHEUS_URL"], environment["ETL__LOAD__INFLUXDB__URL"])
        )
    assert len(ends) == 1, ends


@pytest.mark.parametrize("files", [(*MAIN, WITH_PIPELINE), ("deploy/swarm/stack.yml",)])
def test_who_reads_redis_reads_the_same_namespace(files: tuple[str, ...]) -> None:
    """etl-metrics does not read etl.yaml."""
    environments: dict[str, dict[str, str]] = {}
    for file in files:
        for name, service in document(file)["services"].items():
            environments.setdefault(name, {}).update(service.get("environment", {}))
    of_redis = {
        name: environment.get("ETL__PIPELINE__REDIS_NAMESPACE")
        for name, environment in environments.items()
        if "ETL__PIPELINE__REDIS_URL" in environment
    }
    assert {*SCALED, "verifier", "etl-metrics"} <= of_redis.keys()
    assert set(of_redis.values()) == {"${ETL_REDIS_NAMESPACE:-}"}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", ["extractor", "transformer", "loader", "verifier", "etlctl"])
def test_a_configuration_may_name_several_sources(name: str, tmp_path: Path, *, tls: bool) -> None:
    """Where the variables that name one are set but empty."""
    empty = {"ETL_PROMETHEUS_URL", "ETL_PROMETHEUS_USERNAME", "ETL_PROMETHEUS_PASSWORD_FILE"}
    empty |= {"ETL_INFLUXDB_URL", "ETL_PROMETHEUS_CA_FILE"}
    environment = services()[name]["environment"]
    if tls:
        environment = environment | document(TLS)["services"][name]["environment"]

    def filled(match: re.Match[str]) -> str:
        default = match[3] if match[1] not in empty or match[2] == ":-" else ""
        return str(default)

    environ = {
        variable: re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", filled, str(value))
        for variable, value in environment.items()
        # Those of Redis name files that are not there.
        if variable.startswith(("ETL__EXTRACT", "ETL__LOAD"))
    }
    file = tmp_path / "etl.yaml"
    file.write_text(
        "extract:\n  sources:\n"
        "    - {name: a, url: 'http://a:1', labels: {site: a}}\n"
        "    - {name: b, replicas: ['http://b:1', 'http://c:1'], labels: {site: b}}\n"
        "load: {influxdb: {urls: ['http://d:1', 'http://e:1'], org: o, bucket: b}}\n"
    )
    settings = load_settings(file, environ, secrets=())
    assert [one.name for one in settings.extract.sources] == ["a", "b"]


def test_buckets_are_made_with_the_retention_that_the_configuration_gives_them() -> None:
    """The bucket of the first start keeps points for ever, and no retention becomes shorter."""
    load = yaml.safe_load((ROOT / "config" / "etl.yaml").read_text())["load"]
    used = {load["influxdb"]["bucket"], *(tier["bucket"] for tier in load["tiers"].values())}
    assert len(used) == 3
    first = services()["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert not any(bucket in first for bucket in used)


def test_official_images_are_pinned_and_can_be_replaced() -> None:
    for name, service in services().items():
        image = service["image"]
        assert re.fullmatch(
            r"\$\{[A-Z]+_IMAGE:-[a-z/]+:[\w.-]+\}|\$\{ETL_IMAGE_PREFIX.*\}", image
        ), f"{name}: {image}"
        assert "latest" not in image


def test_stages_listen_where_they_are_asked_whatever_the_configuration_says() -> None:
    text = (ROOT / "deploy/image/Dockerfile").read_text()
    stage = text.partition("FROM installed AS stage\n")[2].partition("\nFROM ")[0]
    ports = set(re.findall(r"HTTP_PORT=(\d+)|EXPOSE (\d+)|\"(\d+)\"", stage))
    assert ports == {("8080", "", ""), ("", "8080", ""), ("", "", "8080")}
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = {one["job_name"]: one for one in scraped["scrape_configs"]}
    for name in (*SCALED, "verifier"):
        assert jobs[name]["dns_sd_configs"][0]["port"] == 8080


def test_what_scales_outlives_its_drain() -> None:
    from common.config.pipeline import PipelineSettings

    drain_seconds = PipelineSettings.model_fields["drain_seconds"].default
    for name in SCALED:
        grace = services()[name]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > drain_seconds
        assert "replicas" in services()[name]["deploy"]


def test_every_secret_comes_from_a_file() -> None:
    for name in ALL:
        for secret in document(name).get("secrets", {}).values():
            assert secret.keys() == {"file"}
    assert "PASSWORD=" not in "".join((ROOT / name).read_text() for name in ALL)


def test_no_image_is_built_with_more_than_it_should_hold() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert "!secrets" not in rules
    assert "!.git" not in rules


# --- with a password, with TLS ---------------------------------------------------------------


def test_metrics_of_our_services_are_behind_a_password() -> None:
    found = services()
    metrics = found["etl-metrics"]["environment"]
    assert metrics["ETL_METRICS_PASSWORD_FILE"] == "/run/secrets/metrics_password"
    for name in SCALED:
        environment = found[name]["environment"]
        assert environment["ETL__PIPELINE__METRICS_PASSWORD_FILE"].endswith("/metrics_password")
    # It has no copy of that secret, so it must not be configured to read it.
    assert "ETL__PIPELINE__METRICS_PASSWORD_FILE" not in found["etlctl"]["environment"]


HANDOUTS = {
    # Files that are laid over each other → parts of the deployment.
    (MAIN[1],): (False, False),
    (MAIN[1], WITH_PIPELINE): (True, False),
    (MAIN[1], WITH_PIPELINE, TLS): (True, True),
}


@pytest.mark.parametrize("files", HANDOUTS, ids="+".join)
def test_what_is_handed_out_is_mounted_and_nothing_else(files: tuple[str, ...]) -> None:
    pipeline, tls = HANDOUTS[files]
    laid = [document(file)["services"]["secrets"] for file in files]
    commands = [service["command"] for service in laid if "command" in service]
    options = {"--pipeline": pipeline, "--tls": tls}
    assert (commands or [[]])[-1] == [name for name, given in options.items() if given]
    handed = consumers(pipeline=pipeline, tls=tls)
    mounted = [name for service in laid for name in service["secrets"]]
    assert sorted(mounted) == sorted({name for one in handed for name in one.secrets})
    assert set(mounted) <= {name for file in files for name in document(file)["secrets"]}
    volumes = [volume for service in laid for volume in service.get("volumes", ())]
    assert [v for v in volumes if "/handout/" not in v] == [
        volume for volume in services()["grafana"]["volumes"] if RECEIVERS in volume
    ]
    volumes = [volume for volume in volumes if "/handout/" in volume]
    assert sorted(volumes) == sorted(f"secrets-{one.name}:/handout/{one.name}" for one in handed)


def test_tls_changes_nothing_of_prometheus_but_its_files() -> None:
    def changed(command: list[str]) -> list[str]:
        return [
            option.replace("prometheus.yml", "prometheus-tls.yml").replace(
                "prometheus_web.yml", "prometheus_web_tls.yml"
            )
            for option in command
        ]

    assert document(TLS)["services"]["prometheus"]["command"] == changed(
        services()["prometheus"]["command"]
    )
    assert (ROOT / "deploy/prometheus/prometheus-tls.yml").exists()


def test_tls_keys_go_to_their_servers_alone() -> None:
    plain = {one.name: one for one in consumers(pipeline=True, tls=False)}
    for consumer in consumers(pipeline=True, tls=True):
        added = set(consumer.secrets) - set(plain[consumer.name].secrets)
        keys = {name for name in added if name.endswith(".key")}
        server = "etl-simulator" if consumer.name == "simulator" else consumer.name
        assert keys in (set(), {f"tls_{server}.key"})
        assert ("tls_ca.crt" in added) is (not consumer.name.startswith("influxdb"))
    assert "tls_ca.key" not in (ROOT / TLS).read_text(encoding="utf-8")


def test_tls_brings_nobody_who_is_not_there() -> None:
    alone = {one.name for one in consumers(pipeline=False, tls=True)}
    assert alone == {one.name for one in consumers(pipeline=False, tls=False)}


def test_who_speaks_tls_is_asked_over_tls() -> None:
    overlay = document(TLS)["services"]
    assert {name for name, service in overlay.items() if "labels" in service} == {
        *("prometheus", "grafana", "etl-simulator")
    }
    for name in ("prometheus", "grafana", "etl-simulator"):
        assert overlay[name]["labels"] == {"etl.scheme": "https"}
        test = " ".join(overlay[name]["healthcheck"]["test"])
        assert "https://" in test or "--ca-file" in test
    for name in ("grafana", "etl-simulator"):
        for variable, path in overlay[name]["environment"].items():
            if "CERT" in variable or "KEY" in variable:
                assert Path(path).name.startswith(f"tls_{name}.")
    source = overlay["grafana"]["volumes"][0].split(":")[0]
    assert (ROOT / source / "prometheus.yaml").exists()


def test_everybody_speaks_tls_to_redis() -> None:
    def redis_url(file: str, name: str) -> str:
        environment = document(file)["services"].get(name, {}).get("environment", {})
        return str(environment.get("ETL__PIPELINE__REDIS_URL", ""))

    users = {
        name
        for file in (*MAIN, WITH_PIPELINE)
        for name in document(file)["services"]
        if redis_url(file, name)
    }
    assert users == {*SCALED, "verifier", "etl-metrics", "etlctl"}
    for name in users:
        environment = document(TLS)["services"][name]["environment"]
        assert redis_url(TLS, name) == f"rediss://{name}@redis:6379/0"
        plain = {redis_url(file, name) for file in (*MAIN, WITH_PIPELINE)} - {""}
        assert plain == {f"redis://{name}@redis:6379/0"}
        assert environment["ETL__PIPELINE__REDIS_CA_FILE"] == "/run/secrets/tls_ca.crt"


def test_everybody_asks_sentinels_where_redis_is_elsewhere() -> None:
    overlay = document(SENTINELS)["services"]
    asking = {*SCALED, "verifier", "etl-metrics", "etlctl"}
    assert overlay.keys() == asking | {"redis"}
    assert overlay["redis"] == {"profiles": ["own-redis"]}
    merged = services() | {"etl-metrics": document(WITH_PIPELINE)["services"]["etl-metrics"]}
    for name in asking:
        url = overlay[name]["environment"]["ETL__PIPELINE__REDIS_URL"]
        assert url.startswith(f"redis+sentinel://{name}@${{ETL_REDIS_SENTINELS:?"), name
        assert url.endswith("/${ETL_REDIS_MASTER:-etl}/0"), name
        networks = [*merged[name]["networks"], *overlay[name].get("networks", ())]
        assert "frontend" in networks, name
        if "redis" in merged[name].get("depends_on", {}):
            assert overlay[name]["depends_on"]["redis"]["required"] is False, name
