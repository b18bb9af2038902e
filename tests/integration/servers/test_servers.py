"""The local stack: programs from packages, processes that end with us, servers that answer."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
import requests
import yaml

from common.config import load_settings
from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers import processes
from devtools.servers.apt import Apt, library_folders, unresolved_libraries
from devtools.servers.binaries import Source, Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import HOST, free_port
from devtools.servers.processes import Server
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import Endpoints, Pace, buckets_of, stack_config
from devtools.servers.waiting import wait_until

# Some 20 kB with a library of its own that hardly any machine has installed.
TINY = Source("tinycdb", ("tinycdb",), ("cdb",))


def hidden(tools_dir: Path, sources: Sequence[Source] | None = None, **options: object) -> Toolbox:
    """A toolbox that finds nothing in PATH."""
    more = {} if sources is None else {"sources": sources}
    return Toolbox(tools_dir, search_path="", system_folders=False, **more, **options)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestPrograms:
    def test_are_unpacked_once_for_many_callers_and_bring_their_libraries(
        self, tmp_path: Path
    ) -> None:
        steps: list[str] = []

        def report(step: str, seconds: float | None) -> None:
            if seconds is not None:
                steps.append(step)

        def find(_: int) -> Path:
            return hidden(tmp_path, [TINY], progress=report).program("cdb").path

        with ThreadPoolExecutor(4) as pool:
            paths = set(pool.map(find, range(4)))
        assert steps.count("tinycdb: download") == 1
        assert steps.count("tinycdb: unpack") == 1
        (path,) = paths
        program = hidden(tmp_path, [TINY]).program("cdb")
        assert program.path == path
        assert path.is_relative_to(tmp_path / "tinycdb")
        made = subprocess.run(
            [path, "-c", tmp_path / "db"],
            input=b"+1,1:a->b\n\n",
            env=program.environment(),
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        # Either the machine has the library, or it was unpacked beside the program.
        assert not unresolved_libraries(path, program.library_folders)
        assert program.library_folders == tuple(library_folders(tmp_path / "tinycdb"))
        assert not (tmp_path / "tinycdb.new").exists()

    def test_private_package_lists_serve_where_the_machine_has_none(self, tmp_path: Path) -> None:
        apt = Apt(tmp_path / "apt")
        (tmp_path / "apt" / "lists").mkdir(parents=True)
        empty = Apt(tmp_path / "apt")
        assert not empty.knows(["tinycdb"])
        assert apt.update() == ""
        assert apt.knows(["tinycdb"])
        (file,) = apt.fetch(["tinycdb"], tmp_path / "debs")
        assert file.stat().st_size > 0

    def test_a_real_redis_runs_from_its_package(self, tmp_path: Path) -> None:
        toolbox = hidden(tmp_path / "tools")
        with RedisServer(toolbox, tmp_path / "redis") as server, server.client() as client:
            executable = Path(psutil.Process(server.pid).exe())
            assert executable.is_relative_to(tmp_path / "tools")
            assert client.ping()

    def test_packages_that_do_not_exist_are_one_clear_error(self, tmp_path: Path) -> None:
        source = Source("nothing", ("no-such-package-at-all",), ("nothing-server",))
        with pytest.raises(StackError) as caught:
            hidden(tmp_path, [source]).prepare()
        message = str(caught.value)
        assert "nothing-server not found in PATH" in message
        assert "apt-get knows no package no-such-package-at-all" in message
        assert "apt-get install no-such-package-at-all" in message
        assert "\n" not in message

    def test_a_machine_without_apt_is_one_clear_error(self, tmp_path: Path) -> None:
        apt = Apt(tmp_path / "apt", {"PATH": str(tmp_path)}, system_path="")
        with pytest.raises(StackError, match=r"no apt-get.*apt-get install tinycdb"):
            hidden(tmp_path, [TINY], apt=apt).prepare()

    def test_a_folder_that_cannot_be_written_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StackError, match=r"cannot unpack tinycdb into .*Not a directory"):
            hidden(tmp_path / "file" / "tools", [TINY]).prepare()

    def test_a_program_in_path_that_does_not_fit_is_passed_over(self, tmp_path: Path) -> None:
        other = tmp_path / "influxd"
        other.write_text("#!/bin/sh\necho 'InfluxDB v2.7.1 (git: x)'\n", encoding="utf-8")
        other.chmod(0o755)
        toolbox = Toolbox(PROJECT_ROOT / ".tools", search_path=str(tmp_path))
        assert toolbox.program("influxd").path != other

    def test_stale_unpacked_programs_of_another_machine_are_not_used(self, tmp_path: Path) -> None:
        first = hidden(tmp_path, [TINY]).program("cdb")
        stamp = tmp_path / "tinycdb" / "stamp.json"
        stamp.write_text(
            stamp.read_text(encoding="utf-8").replace('"machine": "', '"machine": "other '),
            encoding="utf-8",
        )
        steps: list[str] = []
        again = hidden(tmp_path, [TINY], progress=lambda step, _: steps.append(step))
        assert again.program("cdb").path == first.path
        assert "tinycdb: unpack" in steps


class Script(Server):
    """A server that is a line of Python."""

    def __init__(self, work_dir: Path, code: str, port: int | None = None) -> None:
        super().__init__("script", work_dir, port=port)
        self.code = code

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.code, str(self.port)]


SLEEP = "import time; print('dozing', flush=True); time.sleep(600)"
LISTEN = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print('up', flush=True); time.sleep(600)"
)


class TestProcesses:
    def test_a_server_that_dies_is_quoted(self, make_redis: Callable[..., RedisServer]) -> None:
        with pytest.raises(StackError) as caught:
            make_redis(settings={"maxmemory": "plenty"})
        message = str(caught.value)
        assert "ended with exit code 1 before it was ready" in message
        assert "argument must be a memory value" in message
        assert ".log" in message

    def test_a_program_that_cannot_run_is_told(self, tmp_path: Path) -> None:
        class Missing(Script):
            def command(self) -> Sequence[str]:
                return [str(tmp_path / "nothing")]

        with pytest.raises(StackError, match=r"cannot execute .*nothing: No such file"):
            Missing(tmp_path, "").start()

    def test_a_server_that_never_listens_is_told_and_killed(self, tmp_path: Path) -> None:
        server = Script(tmp_path, SLEEP)
        # Long enough for an interpreter to start and write its line on a busy machine.
        server.ready_seconds = 5
        with pytest.raises(StackError, match=r"not ready within 5 s \(listening\).*\ndozing"):
            server.start()
        assert server.exit_code == -signal.SIGKILL

    def test_a_stranger_on_the_port_is_not_taken_for_the_server(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as stranger:
            server = Script(tmp_path, SLEEP, port=stranger.getsockname()[1])
            server.ready_seconds = 0.3
            with pytest.raises(StackError, match="listening"):
                server.start()

    def test_a_port_that_was_taken_meanwhile_is_replaced(
        self, tmp_path: Path, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server((HOST, 0)) as stranger:
            taken = stranger.getsockname()[1]
            ports = iter([taken])
            monkeypatch.setattr(processes, "free_port", lambda: next(ports, None) or free_port())
            with RedisServer(toolbox, tmp_path) as server, server.client() as client:
                assert server.port != taken
                assert client.ping()

    def test_stop_is_orderly_and_kills_what_does_not_listen(self, tmp_path: Path) -> None:
        obedient = Script(tmp_path / "a", LISTEN).start()
        assert obedient.stop() == -signal.SIGTERM
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LISTEN
        stubborn = Script(tmp_path / "b", deaf).start()
        assert stubborn.stop(deadline_seconds=0.2) == -signal.SIGKILL
        assert gone(obedient.pid)
        assert gone(stubborn.pid)

    def test_sigterm_is_sent_once(self, tmp_path: Path) -> None:
        code = (
            "import signal; signal.signal(signal.SIGTERM, lambda *_: print('term', flush=True));"
            + LISTEN
        )
        server = Script(tmp_path, code).start()
        server.terminate()
        wait_until(lambda: "term" in server.log_tail(), deadline_seconds=10, what="first signal")
        server.stop(deadline_seconds=0.2)
        assert server.log_tail().count("term") == 1

    def test_a_closed_server_stays_closed(self, tmp_path: Path) -> None:
        server = Script(tmp_path, LISTEN).start()
        server.close()
        assert not server.running
        with pytest.raises(StackError, match="was closed"):
            server.start()

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_nothing_outlives_its_parent(self, tmp_path: Path, end: signal.Signals) -> None:
        # Started by a thread that ends long before the parent does.
        code = f"""
import pathlib, threading, time
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.redis_server import RedisServer
root, toolbox = pathlib.Path({str(tmp_path)!r}), Toolbox()
with RedisServer(toolbox, root / "redis") as redis:
    influx = InfluxServer(toolbox, root / "influx")
    thread = threading.Thread(target=influx.start)
    thread.start(); thread.join()
    print(redis.pid, *(server.pid for server in influx.servers), flush=True)
    time.sleep(600)
"""
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            text=True,
        ) as parent:
            try:
                assert parent.stdout is not None
                pids = [int(word) for word in parent.stdout.readline().split()]
                assert len(pids) == 3
                assert not any(gone(pid) for pid in pids)
                parent.send_signal(end)
                parent.wait(timeout=30)
            finally:
                parent.kill()
        wait_until(
            lambda: all(gone(pid) for pid in pids), deadline_seconds=10, what="end of the servers"
        )

    def test_a_service_gets_only_the_settings_it_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ETL__LOAD__INFLUXDB__URL", "http://elsewhere")
        monkeypatch.setenv("ETL_CONFIG", "/elsewhere")
        service = ServiceProcess("loader", tmp_path, environ={"ETL__PIPELINE__LOG_LEVEL": "DEBUG"})
        ours = {k: v for k, v in service.environment().items() if k.startswith("ETL")}
        assert ours == {
            "ETL__PIPELINE__HTTP_HOST": HOST,
            "ETL__PIPELINE__HTTP_PORT": str(service.port),
            "ETL__PIPELINE__LOG_LEVEL": "DEBUG",
        }


class TestWaiting:
    def test_asks_once_more_after_the_deadline(self) -> None:
        now = iter([0.0, 0.5, 9.0])
        answers = iter([None, "at last"])
        assert (
            wait_until(
                lambda: next(answers),
                deadline_seconds=1,
                what="it",
                clock=lambda: next(now),
                sleep=lambda _: None,
            )
            == "at last"
        )

    def test_names_what_it_waited_for(self) -> None:
        with pytest.raises(StackError, match="the end of days: not within 0 s"):
            wait_until(lambda: False, deadline_seconds=0, what="the end of days")


class TestRedis:
    def test_data_survives_a_kill_and_the_port_stays(
        self, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(append_fsync="always")
        port = server.port
        with server.client() as client:
            client.set("key", "value")
        server.kill()
        assert server.exit_code == -signal.SIGKILL
        server.start()
        assert server.port == port
        with server.client() as client:
            assert client.get("key") == b"value"
        server.restart(keep_data=False)
        with server.client() as client:
            assert client.get("key") is None
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    def test_a_password_is_required_where_one_is_set(
        self, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(password="open sesame")
        assert redis.Redis.from_url(server.url).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(server.plain_url).ping()
        assert not any("sesame" in word for word in psutil.Process(server.pid).cmdline())

    def test_a_paused_server_hangs_until_it_goes_on(
        self, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis()
        server.pause()
        with server.client(timeout_seconds=0.2) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        with server.client() as client:
            assert client.ping()
        server.pause()
        assert server.stop() == 0


def write(
    server: InfluxServer, bucket: str, body: str | bytes, **headers: str
) -> requests.Response:
    return requests.post(
        f"{server.url}/api/v2/write",
        params={"org": "any", "bucket": bucket, "precision": "ms"},
        data=body,
        headers=server.headers | headers,
        timeout=10,
    )


NOW_MS = 1_700_000_000_000


class TestInflux:
    def test_writes_arrive_with_their_precision_and_compression(
        self, influx_server: InfluxServer, influx_database: str
    ) -> None:
        assert write(influx_server, influx_database, f"m,t=a value=1.5 {NOW_MS}").status_code == 204
        members = b"".join(
            gzip.compress(f"m,t={tag} value={value} {NOW_MS}\n".encode())
            for tag, value in (("b", 2), ("c", 3))
        )
        packed = write(influx_server, influx_database, members, **{"Content-Encoding": "gzip"})
        assert packed.status_code == 204
        for precision, factor in (("us", 1_000), ("ns", 1_000_000), ("", 1_000_000)):
            answer = requests.post(
                f"{influx_server.url}/api/v2/write",
                params={"bucket": influx_database, "precision": precision},
                data=f"m,t=p{precision} value=4 {NOW_MS * factor}",
                timeout=10,
            )
            assert answer.status_code == 204
        (series,) = influx_server.query("SELECT * FROM m", database=influx_database)
        rows = {row[1]: (row[0], row[2]) for row in series["values"]}
        expected = {"a": 1.5, "b": 2, "c": 3, "pus": 4, "pns": 4, "p": 4}
        assert rows == {tag: (NOW_MS * 1_000_000, value) for tag, value in expected.items()}

    # DESIGN's table of answers, its part for 1.x.
    @pytest.mark.parametrize(
        ("body", "status", "message", "written"),
        [
            ("good value=1\n", 204, "", ["good"]),
            ("", 204, "", []),
            ("# good value=1\n", 204, "", []),
            (
                "bad\ngood value=1\nworse value=\n",
                400,
                "partial write: unable to parse 'bad': missing fields",
                ["good"],
            ),
            (
                'seen value="text"\ngood value=1\n',
                400,
                'partial write: field type conflict: input field "value" on measurement "seen" is'
                " type string, already exists as type float dropped=1",
                ["good"],
            ),
            ("good,time=x value=1\n", 400, "partial write", []),
        ],
        ids=["good", "empty", "comment", "unparsable", "type-conflict", "tag-named-time"],
    )
    def test_real_answers_pass_through(
        self,
        influx_server: InfluxServer,
        influx_database: str,
        body: str,
        status: int,
        message: str,
        written: list[str],
    ) -> None:
        assert write(influx_server, influx_database, "seen value=1").status_code == 204
        answer = write(influx_server, influx_database, body)
        assert answer.status_code == status
        if message:
            assert message in answer.json()["error"]
        found = influx_server.query("SHOW MEASUREMENTS", database=influx_database)
        names = {name for (name,) in found[0]["values"]} - {"seen"}
        assert names == set(written)

    def test_points_beyond_retention_are_refused_and_the_rest_is_written(
        self, influx_server: InfluxServer, influx_database: str
    ) -> None:
        name = f"{influx_database}_short"
        influx_server.create_database(name, retention_seconds=3600)
        try:
            now_ms = int(time.time() * 1000)
            answer = write(influx_server, name, f"old value=1 {NOW_MS}\nnew value=1 {now_ms}")
            assert answer.status_code == 400
            assert "partial write: points beyond retention policy dropped=1" in answer.text
            (series,) = influx_server.query("SHOW MEASUREMENTS", database=name)
            assert series["values"] == [["new"]]
        finally:
            influx_server.drop_database(name)

    def test_an_unknown_bucket_is_not_found(self, influx_server: InfluxServer) -> None:
        assert write(influx_server, "nowhere", "m value=1").status_code == 404

    def test_broken_gzip_is_a_bad_request(
        self, influx_server: InfluxServer, influx_database: str
    ) -> None:
        answer = write(influx_server, influx_database, b"rubbish", **{"Content-Encoding": "gzip"})
        assert answer.status_code == 400

    def test_token_limit_and_capacity(self, make_influx: Callable[..., InfluxServer]) -> None:
        server = make_influx(
            token="Sesame-1",
            max_body_bytes=50_000,
            databases=["b"],
            settings={"data": {"max-series-per-database": 3}},
        )
        assert write(server, "b", "m value=1").status_code == 204
        for wrong in ("Token sesame-1", "Token Sesame-12", "Token ", "Sesame-1", ""):
            refused = write(server, "b", "m value=1", Authorization=wrong)
            assert refused.status_code == 401
            assert refused.json()["code"] == "unauthorized"
        query = {"q": "SELECT * FROM m", "db": "b"}
        assert requests.get(f"{server.url}/query", params=query, timeout=10).status_code == 401
        found = requests.get(
            f"{server.url}/query", params=query, headers=server.headers, timeout=10
        )
        assert found.json()["results"][0]["series"][0]["name"] == "m"

        large = write(server, "b", "m value=1\n" * 6_000)
        assert large.status_code == 413
        assert large.headers["Content-Type"].startswith("application/json")
        assert write(server, "b", "m value=1\n" * 4_000).status_code == 204

        full = write(server, "b", "".join(f"m,t={n} value=1\n" for n in range(5)))
        assert full.status_code == 400
        assert "max-series-per-database limit exceeded" in full.json()["error"]

    def test_health_follows_the_engine_and_data_survives_a_kill(
        self, make_influx: Callable[..., InfluxServer]
    ) -> None:
        server = make_influx(databases=["b"])
        assert write(server, "b", "m value=1").status_code == 204
        health = requests.get(f"{server.url}/health", timeout=10)
        assert (health.status_code, health.json()["status"]) == (200, "pass")
        assert requests.get(f"{server.url}/ping", timeout=10).status_code == 204
        assert requests.get(f"{server.url}/elsewhere", timeout=10).status_code == 404
        server.influxd.kill()
        health = requests.get(f"{server.url}/health", timeout=10)
        assert (health.status_code, health.json()["status"]) == (503, "fail")
        assert write(server, "b", "m value=2").status_code == 502
        server.influxd.start()
        assert server.query("SELECT count(value) FROM m", database="b")[0]["values"][0][1] == 1
        server.restart(keep_data=False)
        assert server.query("SELECT count(value) FROM m", database="b") == []

    def test_a_statement_that_fails_is_an_error(self, influx_server: InfluxServer) -> None:
        with pytest.raises(StackError, match="database not found"):
            influx_server.query("SELECT * FROM m", database="nowhere")

    def test_a_token_that_would_break_the_configuration_is_refused(
        self, make_influx: Callable[..., InfluxServer]
    ) -> None:
        with pytest.raises(StackError, match="a token has only"):
            make_influx(token='x"; }')


class TestPrometheus:
    def test_scrapes_itself(self, prometheus_server: PrometheusServer) -> None:
        (sample,) = wait_until(
            lambda: prometheus_server.query('up{job="prometheus"} == 1'),
            deadline_seconds=20,
            what="a scrape",
        )
        assert sample["metric"]["instance"] == f"{HOST}:{prometheus_server.port}"

    def test_history_can_be_filled_in_and_survives_a_kill(
        self, make_prometheus: Callable[..., PrometheusServer]
    ) -> None:
        start = 1_700_000_000
        samples = "".join(f'old{{a="b"}} {n} {start + 15 * n}\n' for n in range(1000))
        server = make_prometheus(backfill=f"# TYPE old gauge\n{samples}# EOF\n", retention="100y")
        end = start + 15 * 999
        for _ in range(2):
            (found,) = server.query("old[1d]", time=end)
            assert [(at, float(value)) for at, value in found["values"]] == [
                (start + 15 * n, float(n)) for n in range(1000)
            ]
            server.kill()
            server.start()
        with pytest.raises(StackError, match=r"promtool refuses backfill\.om"):
            server.backfill("not openmetrics at all\n")

    def test_basic_auth_covers_everything(
        self, make_prometheus: Callable[..., PrometheusServer]
    ) -> None:
        server = make_prometheus(basic_auth=("admin", "s3cret"))
        for path in ("/-/ready", "/metrics", "/api/v1/query?query=1"):
            assert requests.get(f"{server.url}{path}", timeout=10).status_code == 401
        assert server.api("query", query="1")["resultType"] == "scalar"

    def test_targets_of_unknown_jobs_are_refused(self, prometheus_server: PrometheusServer) -> None:
        with pytest.raises(StackError, match="no job elsewhere"):
            prometheus_server.set_targets("elsewhere", ["127.0.0.1:1"])


BASE = {
    "extract": {
        "prometheus_url": "http://prometheus:9090",
        "auth": {"bearer_token_file": "/run/secrets/token"},
        "queries": [
            {"name": "up", "expr": 'up{job="test-app"}', "step": "15s"},
            {"name": "raw", "select": '{job="test-app"}'},
        ],
    },
    "transform": {"valid_metrics": ["up"]},
    "load": {
        "influxdb": {"url": "http://i:8086", "token": "t", "org": "o", "bucket": "b"},
        "tiers": {"hot": {"bucket": "b"}, "cold": {"bucket": "b_cold"}},
    },
    "pipeline": {"interval_seconds": 15, "log_file": "logs/etl.log"},
}


class TestConfig:
    def test_only_addresses_secrets_and_pace_change(self) -> None:
        config = stack_config(
            BASE,
            Endpoints(
                prometheus_url="http://p",
                redis_url="redis://r",
                redis_password_file=Path("/s/redis"),
                influxdb_url="http://i",
                influxdb_token_file=Path("/s/influxdb"),
            ),
            Pace(),
            {"pipeline": {"log_level": "DEBUG"}, "transform": None},
        )
        assert config["extract"]["queries"] == [
            {"name": "up", "expr": 'up{job="test-app"}', "step": 1.0},
            {"name": "raw", "select": '{job="test-app"}'},
        ]
        assert "auth" not in config["extract"]
        assert config["load"]["influxdb"] == {
            "url": "http://i", "token_file": "/s/influxdb", "org": "o", "bucket": "b"
        }  # fmt: skip
        assert config["pipeline"] == {
            "interval_seconds": 2.0,
            "redis_url": "redis://r",
            "redis_password_file": "/s/redis",
            "log_level": "DEBUG",
        }
        assert "transform" not in config
        assert buckets_of(config) == ["b", "b_cold"]
        assert BASE["transform"] == {"valid_metrics": ["up"]}


class TestStack:
    def test_runs_wholly_on_unpacked_programs_and_leaves_nothing_behind(
        self, tmp_path: Path
    ) -> None:
        base = tmp_path / "base.yaml"
        base.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        # The checkout's own cache: on a bare machine everything else uses it too.
        toolbox = hidden(PROJECT_ROOT / ".tools")
        with LocalStack(
            tmp_path / "run",
            toolbox=toolbox,
            base_config=base,
            prometheus_auth=("admin", "s3cret"),
        ) as stack:
            servers = [stack.redis, stack.prometheus, *stack.influx.servers]
            for server in servers:
                assert Path(psutil.Process(server.pid).exe()).is_relative_to(PROJECT_ROOT)
            pids = [server.pid for server in (*servers, stack.simulator)]
            found = wait_until(
                lambda: stack.prometheus.query('up{job="test-app"} == 1'),
                deadline_seconds=20,
                what="a scrape of the test application",
            )
            assert found[0]["metric"]["instance"] == stack.simulator.address
            assert stack.prometheus.query("count(http_requests_total) > 20")
            config = yaml.safe_load(stack.config_path.read_text(encoding="utf-8"))
            token = Path(config["load"]["influxdb"]["token_file"]).read_text(encoding="utf-8")
            assert stack.influx.headers == {"Authorization": f"Token {token.strip()}"}
            assert config["extract"]["auth"]["username"] == "admin"
            assert write(stack.influx, "b_cold", "m value=1").status_code == 204
            assert set(stack.urls) == {"redis", "prometheus", "influxdb", "simulator"}
            assert stack.process_counts == {"extractor": 0, "transformer": 0, "loader": 0}
            assert {"start redis", "start prometheus", "start influxdb", "start simulator"} <= set(
                stack.steps
            )
            assert stack.setup_seconds > 0
        assert all(gone(pid) for pid in pids)
        left = {path.name for path in (tmp_path / "run").iterdir()}
        assert left == {"etl.yaml", "logs"}
        assert (tmp_path / "run" / "logs" / "redis.log").stat().st_size > 0

    def test_the_projects_own_configuration_serves(self, local_stack: LocalStack) -> None:
        settings = load_settings(local_stack.config_path, {})
        assert settings.extract.prometheus_url.rstrip("/") == local_stack.prometheus.url
        assert settings.load.influxdb.url.rstrip("/") == local_stack.influx.url
        assert {query.step_ms for query in settings.extract.queries} == {1000, 2000}
        bucket = settings.load.influxdb.bucket
        assert write(local_stack.influx, bucket, "m value=1").status_code == 204

    def test_a_start_that_fails_leaves_nothing_behind(self, tmp_path: Path) -> None:
        base = tmp_path / "base.yaml"
        base.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        stack = LocalStack(tmp_path / "run", base_config=base, redis_settings={"maxmemory": "no"})
        with pytest.raises(StackError, match="redis ended with exit code 1"):
            stack.start()
        assert not stack.redis.running
        assert not stack.prometheus.running
        assert not stack.influx.running
        assert not stack.simulator.running
        assert not (tmp_path / "run" / "secrets").exists()

    def test_an_unreadable_base_is_told(self, tmp_path: Path) -> None:
        stack = LocalStack(tmp_path / "run", base_config=tmp_path / "none.yaml")
        with pytest.raises(StackError, match=r"none\.yaml"):
            stack.start()
        assert not stack.redis.running
