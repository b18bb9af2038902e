"""Redis, InfluxDB and Prometheus: started, killed, paused, asked."""

from __future__ import annotations

import gzip
import signal
import time
from collections.abc import Callable

import psutil
import pytest
import redis
import requests

from common.errors import StackError
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import HOST
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from tests.integration.servers.helpers import write


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
            response = requests.post(
                f"{influx_server.url}/api/v2/write",
                params={"bucket": influx_database, "precision": precision},
                data=f"m,t=p{precision} value=4 {NOW_MS * factor}",
                timeout=10,
            )
            assert response.status_code == 204
        (series,) = influx_server.query("SELECT * FROM m", database=influx_database)
        rows = {row[1]: (row[0], row[2]) for row in series["values"]}
        expected = {"a": 1.5, "b": 2, "c": 3, "pus": 4, "pns": 4, "p": 4}
        assert rows == {tag: (NOW_MS * 1_000_000, value) for tag, value in expected.items()}

    # The table of responses, its part for 1.x.
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
        response = write(influx_server, influx_database, body)
        assert response.status_code == status
        if message:
            assert message in response.json()["error"]
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
            response = write(influx_server, name, f"old value=1 {NOW_MS}\nnew value=1 {now_ms}")
            assert response.status_code == 400
            assert "partial write: points beyond retention policy dropped=1" in response.text
            (series,) = influx_server.query("SHOW MEASUREMENTS", database=name)
            assert series["values"] == [["new"]]
        finally:
            influx_server.drop_database(name)

    def test_an_unknown_bucket_is_not_found(self, influx_server: InfluxServer) -> None:
        assert write(influx_server, "nowhere", "m value=1").status_code == 404

    def test_broken_gzip_is_a_bad_request(
        self, influx_server: InfluxServer, influx_database: str
    ) -> None:
        response = write(influx_server, influx_database, b"rubbish", **{"Content-Encoding": "gzip"})
        assert response.status_code == 400

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

    def test_what_is_acknowledged_after_a_kill_within_a_write_outlives_the_next_kill(
        self, make_influx: Callable[..., InfluxServer]
    ) -> None:
        server = make_influx(databases=["b"])

        def times() -> list[int]:
            (series,) = server.query("SELECT value FROM m", database="b", epoch="ms")
            return [row[0] for row in series["values"]]

        assert write(server, "b", f"m value=1 {NOW_MS}").status_code == 204
        server.influxd.kill()
        (segment,) = server.influxd.work_dir.rglob("b/*/*/*.wal")
        with segment.open("ab") as file:
            # A record of a megabyte, of which little was written.
            file.write(b"\x01\x00\x10\x00\x00torn")
        server.influxd.start()
        assert times() == [NOW_MS]
        assert write(server, "b", f"m value=1 {NOW_MS + 1}").status_code == 204

        server.influxd.kill()
        server.influxd.start()

        assert times() == [NOW_MS, NOW_MS + 1]

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
