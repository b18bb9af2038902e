"""``python -m services.exporter`` as a process: its HTTP, its exit codes, its memory."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from common.exit_codes import ExitCode
from common.runtime.metrics_table import ETL_METRICS, METRICS, STANDARD_METRICS
from common.state.keys import Keys
from devtools import PROJECT_ROOT
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.integration.exporter.exporter_world import populate
from tests.support.etl_log_lines import line

# What the process may take of the machine's memory, and what it took when this was written:
# 36 MB with a log and a Redis of 10,000 entries, 26 MB with a log alone.
MOST_MEMORY_BYTES = 40 * 2**20
MOST_MEMORY_WITHOUT_REDIS_BYTES = 30 * 2**20

Start = Callable[..., ServiceProcess]

# Redis reports these from 7.2 on.
_NEWER = {"etl_redis_logins_refused_total"}


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body.decode()

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def series(self) -> dict[str, float]:
        return {
            "|".join((sample.name, *(sample.labels[key] for key in sorted(sample.labels)))): (
                sample.value
            )
            for family in text_string_to_metric_families(self.body)
            for sample in family.samples
        }


def ask(process: ServiceProcess, path: str, credentials: str | None = None) -> Answer:
    request = urllib.request.Request(f"{process.url}{path}")
    if credentials is not None:
        encoded = base64.b64encode(credentials.encode()).decode()
        request.add_header("Authorization", f"Basic {encoded}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read())


def wait_for(process: ServiceProcess, name: str, wanted: float) -> dict[str, float]:
    """The series once ``name`` has the value ``wanted``."""

    def look() -> dict[str, float] | None:
        series = ask(process, "/metrics").series()
        return series if series.get(name) == wanted else None

    return wait_until(look, deadline_seconds=20, what=f"{name} = {wanted}")


@pytest.fixture
def start(tmp_path: Path, log_dir: Path) -> Iterator[Start]:
    """``start(**environ)`` → a running etl-metrics; its bytecode is kept, as an image keeps it."""
    started: list[ServiceProcess] = []

    def begin(*, ready: bool = True, **environ: str) -> ServiceProcess:
        process = ServiceProcess(
            "exporter",
            tmp_path / f"exporter-{len(started)}",
            log_dir=log_dir,
            environ={
                "ETL_METRICS_LOG_POLL_SECONDS": "0.1",
                "ETL_METRICS_REDIS_POLL_SECONDS": "0.2",
                "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode"),
                "PYTHONDONTWRITEBYTECODE": "",
                **environ,
            },
            ready_path="/readyz" if ready else "/livez",
            environ_prefix="ETL_METRICS_",
        )
        started.append(process)
        return process.start()

    yield begin
    for process in started:
        process.close()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    file = tmp_path / "etl.jsonl"
    now = time.time()
    file.write_bytes(b"".join(line(number, now) for number in range(1, 11)))
    return file


def secret(folder: Path, text: str) -> str:
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


def test_the_log_alone_as_in_the_monitoring_stack(start: Start, log_file: Path) -> None:
    process = start(ETL_METRICS_LOG_PATH=str(log_file))
    series = wait_for(process, "etl_records_total", 100)
    names = {name.split("|")[0] for name in series}
    assert {spec.name for spec in STANDARD_METRICS} <= names
    assert series["etl_health_status"] == 1
    assert not [
        name for name in names if name.startswith(("etl_redis", "etl_stream", "etl_ledger"))
    ]
    report = ask(process, "/health")
    assert report.status == 200
    assert report.json()["service"] == "etl-metrics"
    assert report.json()["checks"] == {"log": {"ok": True, "detail": ""}}

    log_file.rename(log_file.with_name("etl.jsonl.1"))
    log_file.write_bytes(line(1, time.time(), run_id="next") + b"garbage\n")
    series = wait_for(process, "etl_records_total", 110)
    assert series["etl_process_runs_total"] == 2
    assert series["etl_log_lines_skipped_total|not_json"] == 1


def test_log_and_redis_together_export_everything_that_the_table_promises(
    start: Start,
    log_file: Path,
    tmp_path: Path,
    make_redis: Callable[..., RedisServer],
) -> None:
    server = make_redis(password="open sesame", settings={"maxmemory": "64mb"})
    with server.client() as client:
        populate(client, Keys("shop"))
        client.sadd("rq:queues", "rq:queue:shop-live")
    process = start(
        ETL_METRICS_LOG_PATH=str(log_file),
        ETL__PIPELINE__REDIS_URL=server.plain_url,
        ETL__PIPELINE__REDIS_NAMESPACE="shop",
        ETL__PIPELINE__REDIS_PASSWORD_FILE=secret(tmp_path, "open sesame"),
    )
    series = wait_for(process, "etl_ledger_samples|extracted|q|hot", 100)
    promised = {spec.name for spec in METRICS if ETL_METRICS in spec.services}
    exported = {name.split("|")[0] for name in series}
    assert {name for name in exported if name.startswith("etl_")} | _NEWER == promised | _NEWER
    assert series["etl_ledger_imbalance_samples"] == 0
    assert "process_resident_memory_bytes" in exported


def test_redis_away_and_back(
    start: Start, log_file: Path, make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    with server.client() as client:
        populate(client, Keys("etl"))
    process = start(ETL_METRICS_LOG_PATH=str(log_file), ETL_METRICS_REDIS_URL=server.plain_url)
    wait_for(process, "etl_redis_up", 1)

    server.kill()
    series = wait_for(process, "etl_redis_up", 0)
    assert series["etl_records_total"] == 100
    assert not [name for name in series if name.startswith(("etl_stream", "etl_ledger"))]
    assert ask(process, "/livez").status == 200
    report = ask(process, "/readyz")
    assert report.status == 503
    assert "Redis cannot be read" in report.json()["checks"]["redis"]["detail"]
    assert report.json()["checks"]["log"]["ok"]

    server.start()
    series = wait_for(process, "etl_redis_up", 1)
    assert series["etl_ledger_samples|extracted|q|hot"] == 100
    assert ask(process, "/readyz").status == 200


def test_a_password_guards_the_metrics_and_nothing_else(
    start: Start, log_file: Path, tmp_path: Path
) -> None:
    process = start(
        ETL_METRICS_LOG_PATH=str(log_file),
        ETL_METRICS_PASSWORD_FILE=secret(tmp_path, "open sesame"),
    )
    assert ask(process, "/metrics").status == 401
    assert ask(process, "/metrics", "prometheus:wrong").status == 401
    assert ask(process, "/metrics", "prometheus:open sesame").status == 200
    assert {ask(process, path).status for path in ("/livez", "/readyz", "/health")} == {200}


def test_a_log_that_is_not_there_yet(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "later.jsonl"
    process = start(ready=False, ETL_METRICS_LOG_PATH=str(file))
    wait_for(process, "etl_log_up", 0)
    assert ask(process, "/readyz").json()["checks"]["log"]["detail"] == f"{file} does not exist"
    file.write_bytes(line(1, time.time()))
    series = wait_for(process, "etl_log_up", 1)
    assert series["etl_records_total"] == 10
    assert ask(process, "/readyz").status == 200


def memory_bytes(process: ServiceProcess) -> int:
    return int(psutil.Process(process.pid).memory_info().rss)


def test_it_stays_below_its_share_of_memory(
    start: Start, log_file: Path, redis_client: redis.Redis, redis_server: RedisServer
) -> None:
    """Figures after hours are in docs/etl-metrics.md; this notices a heavy import or a leak."""
    populate(redis_client, Keys("etl"))
    both = {
        "ETL_METRICS_LOG_PATH": str(log_file),
        "ETL_METRICS_REDIS_URL": redis_server.plain_url,
    }
    start(**both).stop()  # compiles
    process = start(**both)
    alone = start(ETL_METRICS_LOG_PATH=str(log_file))
    for _ in range(50):
        assert ask(process, "/metrics").status == 200
        assert ask(alone, "/metrics").status == 200
    wait_for(process, "etl_redis_up", 1)
    assert memory_bytes(process) < MOST_MEMORY_BYTES
    assert memory_bytes(alone) < MOST_MEMORY_WITHOUT_REDIS_BYTES


def test_it_stops_when_asked(start: Start, log_file: Path) -> None:
    process = start(ETL_METRICS_LOG_PATH=str(log_file))
    assert process.stop() == ExitCode.OK


def test_it_stops_while_redis_hangs(
    start: Start, log_file: Path, make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    process = start(ETL_METRICS_LOG_PATH=str(log_file), ETL_METRICS_REDIS_URL=server.plain_url)
    server.pause()
    try:
        assert process.stop() == ExitCode.OK
    finally:
        server.resume()


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ETL_")}
    return subprocess.run(
        [sys.executable, "-m", "services.exporter", *arguments],
        cwd=PROJECT_ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_mistake_in_the_configuration_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    file = Path(secret(tmp_path, "open sesame"))
    file.chmod(0o644)
    ran = run(ETL_METRICS_LOG_PATH="/log", ETL_METRICS_PASSWORD_FILE=str(file))
    assert ran.returncode == ExitCode.CONFIG
    assert ran.stdout == ""
    (said,) = ran.stderr.splitlines()
    assert "which every user can read" in said


def test_a_port_in_use_is_one_line_and_exit_code_2(start: Start, log_file: Path) -> None:
    process = start(ETL_METRICS_LOG_PATH=str(log_file))
    port = process.url.rpartition(":")[2]
    ran = run("--log-path", str(log_file), "--http-port", port, "--http-host", "127.0.0.1")
    assert ran.returncode == ExitCode.CONFIG
    (said,) = ran.stderr.splitlines()
    assert said.startswith(
        f"etl-metrics: http_host and http_port: cannot listen on 127.0.0.1 port {port}"
    )


def test_the_version(tmp_path: Path) -> None:
    ran = run("--version")
    assert ran.returncode == 0
    assert ran.stdout.split(".")[0].isdigit()
