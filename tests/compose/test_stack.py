"""The deployment on a real engine: up from nothing, scaled, broken, repaired, and proven each time.

One stack serves all cases, in the order in which they stand here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from devtools import PROJECT_ROOT
from devtools.sbom.documents import read_lock
from tests.compose import hardening
from tests.compose.pace import LEASE_SECONDS, etl_config
from tests.compose.project import STAGES, Project
from tests.compose.sink_access import put_token, sink_call

pytestmark = pytest.mark.timeout(300)

SERVED = ("redis", "influxdb", "prometheus", "etl-simulator", "etl-metrics", *STAGES, "verifier")
ONE_SHOTS = ("secrets", "influxdb-init")
OURS = (*STAGES, "verifier")
IMAGES = {"etl-simulator": "simulator", "etl-metrics": "exporter"} | {name: name for name in OURS}
LOCKS = {
    service: PROJECT_ROOT / "deploy" / "image" / "locks" / f"{image}.lock"
    for service, image in IMAGES.items()
}
# Who may talk to servers elsewhere.
OUTWARD = ("prometheus", "extractor", "loader", "verifier")

# Requests a page of a stage from inside its container, with the password of metrics if there is
# an argument.
REQUEST = """
import base64, sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:8080" + sys.argv[1])
for path in sys.argv[2:]:
    login = base64.b64encode(b"prometheus:" + open(path, "rb").read().strip()).decode()
    request.add_header("Authorization", "Basic " + login)
try:
    with urllib.request.urlopen(request, timeout=5) as response:
        print(response.status, response.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
PASSWORD_FILE = "/run/secrets/metrics_password"


def stage_get(project: Project, container: str, path: str, *password_file: str) -> tuple[int, str]:
    """Status and body of a stage's response to a GET."""
    said = project.docker("exec", container, "python", "-c", REQUEST, path, *password_file)
    status, _, body = said.partition(" ")
    return int(status), body


@pytest.fixture(autouse=True)
def whole(project: Project) -> Iterator[None]:
    """Each case begins and ends with one container of every service."""
    yield
    assert sorted(project.running()) == sorted(SERVED)


def healthy(project: Project, service: str) -> bool:
    """Whether a service has a container, and all it has are healthy."""
    found = project.containers(service)
    return bool(found) and all(project.health(container) == "healthy" for container in found)


def all_healthy(project: Project) -> bool:
    """Whether every service of the deployment is healthy."""
    return all(healthy(project, service) for service in SERVED)


def test_up_from_nothing_is_healthy(project: Project) -> None:
    for service in SERVED:
        assert project.health(project.container(service)) == "healthy", service
    for service in ONE_SHOTS:
        (container,) = project.containers(service, every=True)
        state = project.inspect(container)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0), service


def test_samples_flow_and_are_proven(project: Project) -> None:
    with project.proven():
        project.flows()
    assert project.status()["imbalance_samples"] == 0


def test_every_target_is_up_and_nothing_is_served_without_a_password(project: Project) -> None:
    jobs = ("prometheus", "test-app", "etl-metrics", "verifier", *STAGES)
    project.wait(
        lambda: {row["metric"]["job"] for row in project.query("up == 1")} >= set(jobs),
        f"Prometheus scrapes {', '.join(jobs)}",
    )
    for variable, path in (
        ("PROMETHEUS_PORT", "/api/v1/targets"),
        ("PROMETHEUS_PORT", "/metrics"),
        ("SIMULATOR_PORT", "/metrics"),
        ("SIMULATOR_PORT", "/scenario"),
        ("ETL_METRICS_PORT", "/metrics"),
    ):
        url = project.address(variable) + path
        assert project.get(url)[0] == 401, url
        assert project.get(url, "prometheus", "wrong")[0] == 401, url
    for variable in ("SIMULATOR_PORT", "ETL_METRICS_PORT"):
        assert project.get(project.address(variable) + "/health")[0] == 200, variable
    for stage in STAGES:
        container = project.container(stage)
        assert stage_get(project, container, "/metrics")[0] == 401, stage
        assert stage_get(project, container, "/metrics", "/etc/hostname")[0] == 401, stage
        assert stage_get(project, container, "/metrics", PASSWORD_FILE)[0] == 200, stage
        assert stage_get(project, container, "/health")[0] == 200, stage


def at_work(project: Project, stage: str, count: int) -> bool:
    """Whether Prometheus scrapes exactly so many replicas of a stage, and each settles work."""
    up, working = f'up{{job="{stage}"}} == 1', f'etl_records_total{{job="{stage}"}} > 0'
    return all(len(project.query(expr)) == count for expr in (up, working))


def scale(project: Project, wanted: dict[str, int]) -> None:
    """So many replicas of each of these stages."""
    scales = (part for stage in wanted for part in ("--scale", f"{stage}={wanted[stage]}"))
    project.compose("up", "--detach", "--wait", "--no-build", "--no-recreate", *scales)


def test_replicas_that_are_added_paused_past_their_leases_and_removed(project: Project) -> None:
    wanted = {"extractor": 2, "transformer": 3, "loader": 2}
    with project.proven():
        first = [project.container(stage) for stage in STAGES]
        scale(project, wanted)
        for stage, count in wanted.items():
            assert len(project.containers(stage)) == count
            project.wait(
                partial(at_work, project, stage, count),
                f"{count} of {stage} settle work and are scraped",
            )
        with project.paused(first):
            since = time.monotonic()
            project.wait(
                lambda: time.monotonic() - since > LEASE_SECONDS + 1,
                "their leases run out meanwhile",
            )
            project.flows(100)  # by the others
        project.flows(100)
        scale(project, dict.fromkeys(STAGES, 1))  # under load, down to one of each


def test_containers_can_do_nothing_that_they_need_not(project: Project) -> None:
    for service in SERVED:
        container = project.container(service)
        assert hardening.ways_out(project.inspect(container)) == [], service
        files = ("/proc/1/limits", "/proc/1/status")
        limits, _, status = project.docker("exec", container, "cat", *files).partition("Name:")
        fields = dict(line.split(":", 1) for line in status.splitlines()[1:])
        assert "0" not in fields["Uid"].split(), service
        assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}, service
        assert fields["NoNewPrivs"].strip() == "1", service
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), service
    logs = project.docker("exec", project.container("etl-simulator"), "ls", "-l", "/var/log/etl")
    assert [line.split()[0] for line in logs.splitlines()[1:]] == ["-rw-r-----"], logs


def test_only_who_talks_to_servers_elsewhere_has_a_way_out(project: Project) -> None:
    for service in SERVED:
        network = hardening.default_route(project, project.container(service))
        assert (network == "frontend") is (service in OUTWARD), (service, network)
    names = [f"{project.name}_{name}" for name in ("backend", "scrape", "published")]
    *internal, published = json.loads(project.docker("network", "inspect", *names))
    assert [network["Internal"] for network in internal] == [True, True]
    assert published["Options"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def test_redis_obeys_its_users_only_and_etl_metrics_cannot_write(project: Project) -> None:
    def say(*commands: tuple[str, ...], user: str = "etl-metrics") -> list[str]:
        container = project.container("etl-metrics")
        return hardening.redis_responses(project, container, user, *commands)

    refused = "NoPermissionError"
    script = "return redis.call('set', 'etl:x', '1')"
    reads, writes = (("get", "etl:x"), ("info",)), (("set", "etl:x", "1"), ("del", "etl:x"))
    said = say(*reads, *writes, ("flushall",), ("eval", script, "1", "etl:x"))
    assert said[:5] == ["OK"] * 2 + [refused] * 3
    assert said[5] != "OK"
    assert say(("get", "etl:x"), user="") == ["AuthenticationError"]


def test_ports_are_published_as_documented(project: Project) -> None:
    documented = {
        "prometheus": {("127.0.0.1", "9090/tcp")},
        "etl-metrics": {("127.0.0.1", "8083/tcp")},
        "etl-simulator": {("127.0.0.1", "8000/tcp")},
    }
    for service in SERVED:
        found = hardening.published(project.inspect(project.container(service)))
        assert found == documented.get(service, set()), service


def test_no_secret_can_be_read_off_a_container(project: Project) -> None:
    names = [path.name for path in project.secrets_dir.iterdir() if path.suffix == ""]
    secrets = {name: project.secret(name) for name in names}
    assert len(secrets) >= 6
    secrets["the loader's token"] = project.docker(
        "exec", project.tool, "cat", "/run/sink/influxdb_token"
    ).strip()
    for service in SERVED:
        assert hardening.leaks(project, project.container(service), secrets) == [], service


def test_images_hold_their_locks_and_nothing_to_install_or_compile_with(project: Project) -> None:
    for service in IMAGES:
        container = project.container(service)
        programs = "for p in pip pip3 gcc cc c++ ld make; do command -v $p; done; true"
        assert project.docker("exec", container, "sh", "-c", programs) == "", service
        code = (
            "import importlib.util as u; print([m for m in ('pip', 'ensurepip') if u.find_spec(m)])"
        )
        locked = {(one.name, one.version) for one in read_lock(LOCKS[service].read_text())}
        assert hardening.installed(project, container) == locked, service
        for python in ("python", "/usr/bin/env -i PATH=/usr/local/bin:/usr/bin python3"):
            found = project.docker("exec", container, *python.split(), "-c", code)
            assert found.strip() == "[]", (service, python)


@pytest.mark.parametrize(
    "services",
    [
        # First those that need the others while they are killed.
        pytest.param(STAGES[::-1], id="stages"),
        pytest.param(("influxdb", "prometheus", "redis"), id="servers"),
        pytest.param(
            ("etl-simulator", "etl-metrics"), id="monitored", marks=pytest.mark.deployed_faults
        ),
    ],
)
def test_kill_of_any_service_loses_nothing(project: Project, services: tuple[str, ...]) -> None:
    """One after the other, the next while the one before comes back."""
    with project.proven():
        project.flows(100)
        for service in services:
            container = project.container(service)
            project.docker("kill", "--signal", "KILL", container)
            project.docker("start", container)
        for service in services:
            project.wait(partial(healthy, project, service), f"{service} is healthy again")
    # Redis tells here what it did not take back of its file.
    log = project.docker("logs", project.container("redis"))
    assert "sending an error to its AOF-loading-client" not in log


def crash(project: Project, container: str) -> None:
    """End a container's process without the engine's knowing that anybody wished it."""
    try:
        os.kill(project.inspect(container)["State"]["Pid"], signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # The engine runs elsewhere: a service that gets the signal twice ends at once.
        code = "import os; os.kill(1, 15); os.kill(1, 15)"
        project.docker("exec", container, "python", "-c", code)


@pytest.mark.deployed_faults
def test_a_crash_is_followed_by_a_restart(project: Project) -> None:
    container = project.container("transformer")
    with project.proven():
        before = project.inspect(container)["RestartCount"]
        crash(project, container)
        project.wait(
            lambda: project.inspect(container)["RestartCount"] > before, "the engine restarts it"
        )
        project.wait(lambda: all_healthy(project), "healthy after a crash")


@pytest.mark.deployed_faults
def test_restart_of_redis_under_load(project: Project) -> None:
    with project.proven():
        project.flows(100)
        project.compose("restart", "redis")
        project.flows(100)


def test_a_loader_cut_off_from_the_network_and_back(project: Project) -> None:
    loader, network = project.container("loader"), f"{project.name}_backend"
    with project.proven():
        project.docker("network", "disconnect", network, loader)
        project.wait(lambda: project.health(loader) == "unhealthy", "the loader is unhealthy")
        project.docker("network", "connect", network, loader)
        project.wait(lambda: project.health(loader) == "healthy", "the loader is healthy again")


@pytest.mark.deployed_faults
def test_recreated_under_load(project: Project) -> None:
    with project.proven():
        before = project.container("transformer")
        project.compose(
            *("up", "--detach", "--wait", "--no-build", "--no-deps", "--force-recreate"),
            "transformer",
        )
        assert project.container("transformer") != before
        project.flows(100)


@pytest.mark.deployed_faults
def test_stop_drains_within_the_grace_period(project: Project) -> None:
    with project.proven():
        project.flows(100)
        project.compose("stop", *STAGES)
        for stage in STAGES:
            (container,) = project.containers(stage, every=True)
            state = project.inspect(container)["State"]
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), (stage, state)
        project.compose("start", *STAGES)
        project.wait(lambda: all_healthy(project), "healthy after stop and start")


@pytest.mark.deployed_faults
def test_a_wrong_token_pauses_the_loader_and_is_repaired_without_loss(project: Project) -> None:
    with project.proven():
        put_token(project, "no-such-token")
        project.compose("restart", "loader")
        loader = project.container("loader")
        project.wait(lambda: project.health(loader) == "unhealthy", "the loader is not ready")
        paused = project.status()
        assert paused["dead_letter_entries"] == 0
        assert paused["imbalance_samples"] == 0
        project.compose("up", "--no-build", "--no-deps", "influxdb-init")  # the repair
        project.compose("restart", "loader")
        project.wait(lambda: all_healthy(project), "healthy with the right token")


def reload(project: Project, config: dict[str, Any]) -> None:
    """Have the stages work by another etl.yaml, at once and in the same containers."""
    project.write_config(config)
    project.docker("kill", "--signal", "HUP", *(project.container(stage) for stage in STAGES))


def test_down_and_up_keeps_data_watermarks_and_dead_letters(project: Project) -> None:
    since_ms = int(time.time() * 1000)
    # A field that is text already: what follows as numbers is refused, point by point.
    sink_call(
        project,
        "POST",
        "/api/v2/write?org=monitoring&bucket=health_metrics&precision=ms",
        f'refused value="text" {since_ms}',
    )
    config = etl_config()
    config["extract"]["queries"].append({"name": "refused", "expr": "vector(1)", "step": 1})
    reload(project, config)
    project.wait(lambda: project.dead_letters() > 0, "dead letters of the refused points")
    reload(project, etl_config())  # no more of them
    project.flows(100)
    project.compose("stop", *STAGES)
    kept, watermark_ms = project.dead_letters(), project.watermark_ms()

    project.stop_tool()
    project.compose("down")
    project.up()
    project.wait(lambda: project.dead_letters() >= kept, "the dead letters are there again")
    project.wait(lambda: project.watermark_ms() >= watermark_ms, "and so are the watermarks")

    # Without the text, the sink takes them: replayed, nothing is missing.
    sink_call(
        project,
        "POST",
        "/query?db=health_metrics&q=DROP%20MEASUREMENT%20%22refused%22",
        "",
    )
    listed = json.loads(project.etlctl("dead-letters", "list", "--json"))
    assert listed
    project.etlctl("dead-letters", "replay", "--all", "--yes")
    project.wait(lambda: project.dead_letters() == 0, "the dead letters are replayed")
    project.prove(since_ms)
