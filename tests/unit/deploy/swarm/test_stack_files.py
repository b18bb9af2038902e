"""deploy/swarm: the same services as docker-compose.yml's, in what a Swarm understands."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.image.secret_list import consumers
from devtools import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "deploy" / "swarm"
FILES = ("servers.yml", "stack.yml")
TEXTS = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES}
STACK: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
SERVICES: dict[str, dict[str, Any]] = {
    name: service for file in FILES for name, service in STACK[file]["services"].items()
}
STAGES = {"extractor", "transformer", "loader", "verifier"}
# What hands out secrets and makes the sink's token has another way here; etlctl runs on request.
ONE_SHOTS = {"secrets", "influxdb-init", "etlctl"}
DEFAULT = re.compile(r"\$\{(\w+)(?::?-([^{}]*))?\}")
DURATION = re.compile(r"(\d+)s")
# What `docker stack deploy` refuses, ignores, or drops without a word.
NOT_OF_A_SWARM = set(
    "build cap_add container_name depends_on expose labels network_mode profiles pull_policy "
    "restart security_opt tmpfs".split()
)
# Variable of compose → why a Swarm has it otherwise.
ENVIRONMENT_OF_COMPOSE = {
    "grafana": {"GF_AUTH_ANONYMOUS_ENABLED", "GF_AUTH_ANONYMOUS_ORG_ROLE", "GF_SMTP_ENABLED"},
    "etl-simulator": {"SIMULATOR_ETL_LOG_FILE"},  # a file that two containers share
    "etl-metrics": {"ETL_METRICS_LOG_PATH"},
}


def composed() -> dict[str, dict[str, Any]]:
    """The services of the compose files, the overlay's environment among them."""
    found: dict[str, dict[str, Any]] = {}
    for file in (
        *("docker-compose.monitoring.yml", "docker-compose.yml"),
        "deploy/compose/monitoring-with-pipeline.yml",
    ):
        document = yaml.safe_load((PROJECT_ROOT / file).read_text(encoding="utf-8"))
        for name, service in document["services"].items():
            known = found.setdefault(name, {})
            environment = known.get("environment", {}) | service.get("environment", {})
            networks = [*known.get("networks", []), *service.get("networks", [])]
            found[name] = known | service | {"environment": environment, "networks": networks}
    return {name: service for name, service in found.items() if name not in ONE_SHOTS}


COMPOSE = composed()


def resolved(value: Any) -> Any:
    """A value with the defaults of its variables."""
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    text = str(value)
    while (found := DEFAULT.sub(lambda match: match[2] or "", text)) != text:
        text = found
    return text


def test_the_services_are_composes() -> None:
    assert SERVICES.keys() == COMPOSE.keys()
    assert STACK["stack.yml"]["services"].keys() == {*STAGES, "etl-metrics"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_the_same_as_composes(name: str) -> None:
    service, other = SERVICES[name], COMPOSE[name]
    for key in ("image", "user", "entrypoint", "command", "init", "read_only", "cap_drop"):
        assert service.get(key) == other.get(key), key
    for key in ("ulimits", "logging", "stop_grace_period"):
        assert service[key] == other[key], key
    assert resolved(service["deploy"]["resources"]) == resolved(other["deploy"]["resources"])
    published = [
        f"127.0.0.1:{port['published']}:{port['target']}" for port in service.get("ports", ())
    ]
    assert published == other.get("ports", [])
    # A network that can publish ports without a way out is a bridge's, which no Swarm has.
    networks = {"frontend" if one == "published" else one for one in other["networks"]}
    assert set(service["networks"]) == networks


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_its_environment_is_composes(name: str) -> None:
    here = resolved(SERVICES[name].get("environment", {}))
    there = resolved(COMPOSE[name].get("environment", {}))
    for left_out in ENVIRONMENT_OF_COMPOSE.get(name, ()):
        here.pop(left_out, None)
        assert there.pop(left_out, None) is not None, left_out
    # A secret instead of a volume that a job fills.
    token = "ETL__LOAD__INFLUXDB__TOKEN_FILE"
    assert here.pop(token, "").replace("/run/secrets/", "/run/sink/") == there.pop(token, "")
    assert here == there


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_its_secrets_are_those_that_compose_hands_it(name: str) -> None:
    folders = {"etl-simulator": "simulator", "etl-metrics": "exporter"}
    (handed,) = (
        one for one in consumers(pipeline=True, tls=False) if one.name == folders.get(name, name)
    )
    wanted = set(handed.secrets) - handed.optional
    if name in ("loader", "verifier"):
        wanted.add("influxdb_token")
    given = {secret["source"]: secret for secret in SERVICES[name]["secrets"]}
    assert given.keys() == wanted
    for source, secret in given.items():
        assert secret == {
            "source": source,
            "target": source,
            "uid": str(handed.uid),
            "gid": str(handed.gid),
            "mode": 0o400,
        }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_file_that_a_variable_names_is_mounted(name: str) -> None:
    there = {f"/run/secrets/{secret['target']}" for secret in SERVICES[name]["secrets"]}
    for variable, path in SERVICES[name].get("environment", {}).items():
        if variable.endswith("_FILE"):
            default = re.sub(r"\$\{\w+-(.*)\}", r"\1", path)
            assert default in there, variable


@pytest.mark.parametrize("file", FILES)
def test_what_is_used_is_declared_and_read_from_a_file_that_is_there(file: str) -> None:
    document = STACK[file]
    for kind in ("configs", "secrets"):
        used = {
            one["source"]
            for service in document["services"].values()
            for one in service.get(kind, ())
        }
        assert used == document.get(kind, {}).keys()
        for key, one in document.get(kind, {}).items():
            # Neither can be changed in a Swarm: each content has a name of its own.
            assert re.fullmatch(r"\$\{ETL_STACK:-etl\}_.+_\$\{ETL_\w+_VERSION:-1\}", one["name"])
            assert len(resolved(one["name"])) + len("sha256sum012") <= 64
            if kind == "configs":
                assert (FOLDER / resolved(one["file"])).is_file(), key
    volumes = {
        str(mount).split(":")[0]
        for service in document["services"].values()
        for mount in service["volumes"]
        if isinstance(mount, str)
    }
    assert volumes == document.get("volumes", {}).keys()


def test_every_file_of_the_servers_is_mounted_where_compose_mounts_its_folder() -> None:
    mounted = {
        name: {
            config["target"]: (
                FOLDER / resolved(STACK["servers.yml"]["configs"][config["source"]]["file"])
            ).resolve()
            for config in SERVICES[name]["configs"]
        }
        for name in ("redis", "prometheus", "grafana")
    }
    for name, files in mounted.items():
        expected: dict[str, Path] = {}
        for mount in COMPOSE[name]["volumes"]:
            source, target, *_ = resolved(mount).split(":")
            if source.startswith("./"):
                path = PROJECT_ROOT / source
                for file in [path] if path.is_file() else sorted(path.rglob("*")):
                    if file.is_file() and "tests" not in file.parts:
                        suffix = "" if path.is_file() else f"/{file.relative_to(path).as_posix()}"
                        expected[f"{target}{suffix}"] = file
        expected.pop("/etc/prometheus/prometheus-tls.yml", None)
        assert files == expected


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_swarm_understands_all_of_it(name: str) -> None:
    service = SERVICES[name]
    assert not service.keys() & NOT_OF_A_SWARM
    assert "start_interval" not in service["healthcheck"], "dropped without a word"
    assert {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 64 << 20}} in service["volumes"]
    deploy = service["deploy"]
    # Prometheus finds each replica by its name; a virtual address would hide them.
    assert deploy["endpoint_mode"] == "dnsrr"
    assert all(port["mode"] == "host" for port in service.get("ports", ()))
    assert deploy["update_config"]["failure_action"] == "rollback"
    assert deploy["restart_policy"]["condition"] == "any"


def test_stages_are_replaced_without_a_pause_and_servers_never_run_twice() -> None:
    for name, service in SERVICES.items():
        order = "start-first" if name in STAGES else "stop-first"
        for change in ("update_config", "rollback_config"):
            assert service["deploy"][change]["order"] == order, name
    for name in ("extractor", "transformer", "loader"):
        assert "_REPLICAS:-1}" in SERVICES[name]["deploy"]["replicas"]
    for name in ("redis", "influxdb", "prometheus", "grafana"):
        assert SERVICES[name]["deploy"]["replicas"] == 1
        (constraint,) = SERVICES[name]["deploy"]["placement"]["constraints"]
        assert resolved(constraint) == "node.labels.etl-data == true"


def test_a_service_that_waits_is_not_ended_for_it() -> None:
    """Swarm ends what is unhealthy; /health fails while a server elsewhere is away."""
    for name in (*STAGES, "etl-metrics"):
        assert SERVICES[name]["healthcheck"]["test"][-1] == "/livez"
    for name in ("redis", "influxdb", "prometheus", "grafana"):
        check, other = SERVICES[name]["healthcheck"], COMPOSE[name]["healthcheck"]
        assert check["test"] == other["test"]
        seconds = DURATION.fullmatch(check["start_period"])
        assert seconds
        assert int(seconds[1]) >= 600, "it reads its files first"


def test_only_frontend_has_a_way_out() -> None:
    for file in FILES:
        networks = STACK[file]["networks"]
        assert networks == STACK["stack.yml"]["networks"]
        assert {name for name, one in networks.items() if not one.get("internal")} == {"frontend"}


def test_every_variable_has_a_default_and_is_documented() -> None:
    docs = PROJECT_ROOT / "docs"
    documented = set(
        re.findall(
            r"`(\w+)`", (docs / "swarm.md").read_text() + (docs / "deployment.md").read_text()
        )
    )
    for name, text in TEXTS.items():
        assert not re.findall(r"\$\{\w+\}|\$\w", text), name
        used = set(re.findall(r"\$\{(\w+)", text))
        assert used <= documented, sorted(used - documented)


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker")
def test_docker_reads_the_files(tmp_path: Path) -> None:
    for name in {name for file in FILES for name in STACK[file]["secrets"]}:
        (tmp_path / name).write_text("x")
    files = [option for name in FILES for option in ("--compose-file", str(FOLDER / name))]
    done = subprocess.run(
        ["docker", "stack", "config", *files],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SECRETS_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "not a docker command" in done.stderr or "unknown" in done.stderr:
        pytest.skip("this docker has no `stack config`")
    assert done.returncode == 0, done.stderr
    assert "gnoring" not in done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == SERVICES.keys()
