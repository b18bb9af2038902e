"""What is noticed before anything is started: ports, memory, disk."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from etlctl.stack.compose import without_start_interval
from etlctl.stack.engine import Engine
from etlctl.stack.preflight import Preflight, check, free_bytes, is_free
from etlctl.stack.project import Container, Port, Project, Service, read_containers, read_project

MIB = 1 << 20
GIB = 1 << 30

ENGINE = Engine(
    version="27.3.1",
    api=(1, 47),
    compose=(2, 30),
    memory_bytes=8 * GIB,
    cpus=4,
    root="/var/lib/docker",
    local=True,
)
PROMETHEUS = Port("127.0.0.1", 9090)


def service(name: str, **known: object) -> Service:
    fields: dict[str, object] = {
        "replicas": 1,
        "one_shot": False,
        "ports": (),
        "memory_limit_bytes": 0,
        "memory_reserved_bytes": 0,
        "scheme": "http",
    }
    return Service(name=name, **(fields | known))  # type: ignore[arg-type]


def project(*services: Service) -> Project:
    return Project("etl", {one.name: one for one in services}, {})


def container(port: Port, state: str = "running") -> Container:
    return Container("id", "etl-prometheus-1", "prometheus", state, "", 0, frozenset({port}))


def checked(
    of: Project,
    engine: Engine = ENGINE,
    containers: tuple[Container, ...] = (),
    *,
    taken: tuple[Port, ...] = (),
    free: int | None = 100 * GIB,
) -> Preflight:
    return check(
        engine,
        of,
        containers,
        is_free=lambda port: port not in taken,
        free_bytes=lambda folder: free,
    )


def test_nothing_is_in_the_way() -> None:
    found = checked(project(service("prometheus", ports=(PROMETHEUS,))))
    assert (found.problems, found.remarks) == ([], [])


# -- ports -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [("prometheus", ", or set PROMETHEUS_PORT to another one"), ("other", "")],
)
def test_a_port_that_another_program_has(name: str, hint: str) -> None:
    found = checked(project(service(name, ports=(PROMETHEUS,))), taken=(PROMETHEUS,))
    assert found.problems == [
        f"port 127.0.0.1:9090 of {name} is taken by another program: stop that "
        f"(ss -ltnp 'sport = :9090' names it){hint}"
    ]


def test_a_port_that_our_own_container_has_is_no_trouble() -> None:
    of = project(service("prometheus", ports=(PROMETHEUS,)))
    assert checked(of, containers=(container(PROMETHEUS),), taken=(PROMETHEUS,)).problems == []
    ended = (container(PROMETHEUS, "exited"),)
    assert len(checked(of, containers=ended, taken=(PROMETHEUS,)).problems) == 1


def test_ports_and_disk_of_an_engine_elsewhere_are_not_checked() -> None:
    of = project(service("prometheus", ports=(PROMETHEUS,)))
    found = checked(of, replace(ENGINE, local=False), taken=(PROMETHEUS,), free=0)
    assert (found.problems, found.remarks) == ([], [])


def test_a_port_is_tried_by_listening_on_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(Port("127.0.0.1", port))
        assert not is_free(Port("0.0.0.0", port))
        assert is_free(Port("127.0.0.1", port, "udp"))
        # One that others connected to has connections that are not over for a minute.
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert is_free(Port("127.0.0.1", port))
    # Not ours to judge: an address that this machine does not have.
    assert is_free(Port("192.0.2.1", port))


# -- files that are mounted, CPUs --------------------------------------------------------------


def test_a_file_that_only_its_owner_may_read_is_named(tmp_path: Path) -> None:
    rules = tmp_path / "prometheus" / "rules"
    rules.mkdir(parents=True)
    (rules / "etl.yml").write_text("groups: []", encoding="utf-8")
    for folder in (tmp_path / "prometheus", rules):
        folder.chmod(0o755)
    (rules / "etl.yml").chmod(0o644)
    of = project(service("prometheus", binds=(tmp_path / "prometheus", tmp_path / "none")))
    assert checked(of).problems == []

    (rules / "etl.yml").chmod(0o600)
    assert checked(of).problems == [
        f"{rules / 'etl.yml'} cannot be read by prometheus, which runs as a user of its own: "
        f"chmod -R o+rX {tmp_path / 'prometheus'}"
    ]
    rules.chmod(0o700)
    assert checked(of).problems[0].startswith(f"{rules} cannot be read by prometheus")
    assert checked(of, replace(ENGINE, local=False)).problems == []


def test_more_cpus_than_there_are() -> None:
    of = project(service("prometheus", cpus=2.0), service("etl-metrics", cpus=1.0))
    assert checked(of).problems == []
    one = replace(ENGINE, cpus=1)
    assert checked(of, one).problems == [
        "prometheus may use 2 CPUs and the engine has 1: set PROMETHEUS_CPUS to 1"
    ]


# -- memory and disk ---------------------------------------------------------------------------


def test_too_little_memory_for_what_is_reserved() -> None:
    of = project(service("loader", replicas=3, memory_reserved_bytes=3 * GIB))
    found = checked(of)
    assert found.problems == [
        "the engine has 8,192 MiB of memory, and the services need 9,216 MiB: give it more, or "
        "run fewer replicas"
    ]


def test_limits_above_the_memory_are_only_said() -> None:
    of = project(
        service("loader", memory_limit_bytes=6 * GIB, memory_reserved_bytes=GIB),
        service("redis", memory_limit_bytes=3 * GIB),
    )
    found = checked(of)
    assert found.problems == []
    assert found.remarks == [
        "the engine has 8,192 MiB of memory, and the services may use up to 9,216 MiB together"
    ]


@pytest.mark.parametrize(
    ("free", "problems", "remarks"),
    [(512 * MIB, 1, 0), (GIB, 0, 1), (6 * GIB, 0, 0), (None, 0, 0)],
)
def test_too_little_disk(free: int | None, problems: int, remarks: int) -> None:
    found = checked(project(), free=free)
    assert (len(found.problems), len(found.remarks)) == (problems, remarks)


def test_free_space_is_that_of_the_folder(tmp_path: Path) -> None:
    assert (free_bytes(str(tmp_path)) or 0) > 0
    assert free_bytes(str(tmp_path / "none")) is None


# -- what compose prints ------------------------------------------------------------------------


def test_a_project_as_compose_writes_it() -> None:
    found = read_project(
        """{"name": "etl", "services": {
          "a": {"deploy": {"resources": {"limits": {"memory": "268435456", "cpus": 0.5},
                                         "reservations": {"memory": "67108864"}}, "replicas": 2},
                "healthcheck": {"test": ["CMD", "x"], "start_interval": "1s"},
                "ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 9090,
                           "published": "18999", "protocol": "tcp"}],
                "volumes": [{"type": "bind", "source": "/s/conf", "target": "/etc/x"},
                            {"type": "volume", "source": "data", "target": "/data"}],
                "restart": "unless-stopped", "labels": {"etl.scheme": "https"}},
          "b": {"mem_limit": "104857600", "mem_reservation": "10485760", "scale": 3,
                "deploy": {"replicas": 9},
                "ports": [{"target": 80, "published": "8000-8010"}, {"target": 9999}]},
          "c": {"command": null, "healthcheck": null, "deploy": null, "ports": null}},
         "secrets": {"pw": {"name": "etl_pw", "file": "/s/pw"}, "other": {"environment": "X"}}}"""
    )
    assert found == Project(
        "etl",
        {
            "a": service(
                "a",
                replicas=2,
                ports=(Port("127.0.0.1", 18999),),
                memory_limit_bytes=256 * MIB,
                memory_reserved_bytes=64 * MIB,
                scheme="https",
                cpus=0.5,
                binds=(Path("/s/conf"),),
            ),
            "b": service(
                "b",
                replicas=3,
                one_shot=True,
                memory_limit_bytes=100 * MIB,
                memory_reserved_bytes=10 * MIB,
            ),
            "c": service("c", one_shot=True),
        },
        {"pw": Path("/s/pw")},
    )


def test_containers_come_one_a_line_or_as_an_array() -> None:
    one = '{"ID": "1", "Name": "n", "Service": "s", "State": "running", "Publishers": null}'
    run = one.replace('"ID": "1"', '"ID": "2", "Labels": "a=b,com.docker.compose.oneoff=True"')
    expected = [Container("1", "n", "s", "running", "", 0, frozenset())]
    assert read_containers(f"{one}\n\n{run}\n") == expected
    assert read_containers(f"[{one}, {run}]") == expected
    assert read_containers("") == []


# -- an engine that is too old for start_interval ----------------------------------------------


def test_only_services_with_a_start_interval_lose_it_and_only_where_it_is_not_known() -> None:
    config = {
        "services": {
            "redis": {"healthcheck": {"test": ["CMD", "x"], "start_interval": "1s"}},
            "grafana": {"healthcheck": {"test": ["CMD", "x"]}},
            "secrets": {},
        }
    }
    assert without_start_interval(config, (1, 44)) is None
    assert without_start_interval(config, (1, 100)) is None
    change = without_start_interval(config, (1, 43))
    assert change is not None
    assert "redis: {healthcheck: {start_interval: !reset null, interval: " in change
    assert "grafana" not in change
    del config["services"]["redis"]
    assert without_start_interval(config, (1, 43)) is None


@pytest.mark.parametrize(
    ("configured", "problems"), [("", 0), ("viewer", 0), ("off", 1), ("Admin", 1)]
)
def test_anonymous_users_may_only_be_viewers(configured: str, problems: int) -> None:
    found = checked(project(service("grafana", anonymous=configured)))

    assert len(found.problems) == problems
    assert all(
        "GRAFANA_ANONYMOUS" in problem and configured in problem for problem in found.problems
    )
