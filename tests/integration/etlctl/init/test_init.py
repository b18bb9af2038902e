"""From two addresses to a configuration that every command takes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from common.config import load_settings
from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run


@pytest.fixture(scope="module")
def source(prometheus_server: PrometheusServer) -> PrometheusServer:
    """A Prometheus that has scraped itself, as job ``prometheus``, for longer than it settles."""
    wait_until(
        lambda: prometheus_server.query("count_over_time(up[1m]) > 2 and up offset 15s"),
        deadline_seconds=60,
        what="Prometheus has scraped itself",
    )
    return prometheus_server


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[str]:
    """Name of a database that is not there yet."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    influx_server.drop_database(name)


@pytest.fixture
def options(source: PrometheusServer, influx_server: InfluxServer, bucket: str) -> list[str]:
    return [
        *("--prometheus-url", source.url, "--influxdb-url", influx_server.url),
        *("--bucket", bucket, "--yes"),
    ]


def on_a_terminal(answers: Sequence[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Exit code and all output of a command that asks, each question answered when it comes."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "etlctl", *arguments],
        cwd=PROJECT_ROOT,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    said, seen = "", 0
    try:
        for question, answer in answers:
            while question not in said[seen:]:
                part = os.read(process.stdout.fileno(), 4096)
                assert part, said
                said += part.decode()
            seen = len(said)
            # What is typed before a password is asked for is thrown away.
            echo_is_off = "token" not in question
            while not echo_is_off:
                echo_is_off = not termios.tcgetattr(terminal)[3] & termios.ECHO
            os.write(master, f"{answer}\n".encode())
        said += process.stdout.read().decode()
        return process.wait(timeout=60), said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(master)
        os.close(terminal)


def test_a_configuration_is_written_that_every_command_takes(
    capsys: Capture, tmp_path: Path, options: list[str], influx_server: InfluxServer, bucket: str
) -> None:
    file = tmp_path / "made" / "etl.yaml"
    code, out, err = run(capsys, "init", "--config", str(file), *options)
    assert code == 0, out + err
    assert "prometheus: " in out and " samples a day" in out and "MB a day in InfluxDB" in out
    assert f"database {bucket}: made, keeps points for ever" in err
    assert f"next: etlctl doctor --config {file}, etlctl run --config {file}" in err

    settings = load_settings(file, environ={})
    by_name = {query.name: query for query in settings.extract.queries}
    assert by_name["health"].expr == "up" and by_name["health"].step == 1
    assert by_name["prometheus"].select == '{job="prometheus"}'
    assert settings.pipeline.interval_seconds == 1
    assert settings.extract.settle_seconds is None, "the extractor asks for itself"
    assert "redis_url" not in settings.pipeline.model_fields_set
    code, out, err = run(capsys, "config", "check", "--online", "--config", str(file))
    assert code == 0 and "warning" not in err, err
    assert "# backfill: true" in file.read_text(encoding="utf-8")
    assert [bucket] in influx_server.query("SHOW DATABASES")[0]["values"]


def test_what_is_there_is_not_written_over_without_force(
    capsys: Capture, tmp_path: Path, options: list[str]
) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text("mine\n", encoding="utf-8")
    code, out, err = run(capsys, "init", "--config", str(file), *options)
    assert (code, out) == (ExitCode.CONFIG, "")
    assert err == (
        f"etlctl: {file}: is there already: --force writes over it, --config names another\n"
    )
    assert file.read_text(encoding="utf-8") == "mine\n"
    code, out, err = run(capsys, "init", "--config", str(file), "--force", "--json", *options)
    assert code == 0, err
    document = json.loads(out)
    assert [job["name"] for job in document["source"]["jobs"]] == ["prometheus"]
    assert document["proposal"]["samples_a_day"] > 86_400
    assert document["sink"]["version"].startswith("1.")
    load_settings(file, environ={})


def test_it_asks_on_a_terminal_and_keeps_the_token_in_a_file_of_its_own(
    tmp_path: Path,
    source: PrometheusServer,
    make_influx: Callable[..., InfluxServer],
    bucket: str,
) -> None:
    influx = make_influx(token="a-secret-token")
    answers = [
        ("Prometheus' URL", source.url),
        ("InfluxDB's URL", influx.url),
        ("Organisation", "our-org"),
        ("Bucket", bucket),
        ("InfluxDB's token", "a-secret-token"),
        ("Make it, to keep points for ever?", "y"),
        ("etl.yaml?", "y"),
    ]
    code, said = on_a_terminal(answers, "init", "--config", str(tmp_path / "etl.yaml"))
    assert code == 0, said
    assert re.search(r"Prometheus \d.*: 1 jobs, \d+ metrics", said)
    secret = tmp_path / "secrets" / "influxdb_token"
    assert secret.read_text(encoding="utf-8") == "a-secret-token\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    text = (tmp_path / "etl.yaml").read_text(encoding="utf-8")
    assert "a-secret-token" not in text + said
    assert "token_file: 'secrets/influxdb_token'" in text and "org: 'our-org'" in text
    settings = load_settings(tmp_path / "etl.yaml", environ={})
    assert settings.load.influxdb.token.get_secret_value() == "a-secret-token"


def test_jobs_have_names_that_a_query_may_have(
    capsys: Capture,
    tmp_path: Path,
    make_prometheus: Callable[..., PrometheusServer],
    options: list[str],
) -> None:
    server = make_prometheus(jobs=tuple(ScrapeJob(name) for name in ("a-b", "a_b", '1 "x"')))
    for name in ("a-b", "a_b", '1 "x"'):
        server.set_targets(name, [f"127.0.0.1:{server.port}"])
    wait_until(
        lambda: len(server.query("count_over_time(up[1m]) > 2")) == 3,
        deadline_seconds=60,
        what="all jobs are scraped",
    )
    options = ["--prometheus-url", server.url, *options[2:]]
    file = tmp_path / "etl.yaml"
    code, _, err = run(capsys, "init", "--config", str(file), *options)
    assert code == 0, err
    queries = {one.name: one.select for one in load_settings(file, environ={}).extract.queries}
    assert queries == {
        "health": None,
        "job_1__x_": '{job="1 \\"x\\""}',
        "a_b": '{job="a-b"}',
        "job_a_b_2": '{job="a_b"}',
    }
    chosen = ("--job", "a_b", "--force")
    assert run(capsys, "init", "--config", str(file), *options, *chosen)[0] == 0
    queries = {one.name: one.text for one in load_settings(file, environ={}).extract.queries}
    assert queries == {"health": 'up{job=~"a_b"}', "a_b": '{job="a_b"}'}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--prometheus-url", "http://127.0.0.1:9"), 3, "Prometheus at http://127.0.0.1:9/"),
        (("--prometheus-url", "soon"), 2, "--prometheus-url: "),
        (("--influxdb-url", "http://127.0.0.1:9"), 3, "InfluxDB at http://127.0.0.1:9 cannot be"),
        (("--influxdb-url", "PROMETHEUS"), 3, "InfluxDB"),
        # What Debian has: the database can be made, and not be written to.
        (("--influxdb-url", "INFLUXD"), 3, "has no /api/v2/write, which is written to: 1.8 or ne"),
        (("--job", "nothing"), 2, "--job: Prometheus scrapes no job 'nothing': there are prome"),
        (("--influxdb-token-file", "/none"), 2, "--influxdb-token-file: names /none, which cannot"),
        (("--bucket", "0123456789abcdef"), 2, "--bucket: is the id of a bucket"),
    ],
)
def test_what_is_refused(
    capsys: Capture,
    tmp_path: Path,
    options: list[str],
    influx_server: InfluxServer,
    changed: tuple[str, str],
    code: int,
    said: str,
) -> None:
    urls = {"PROMETHEUS": options[1], "INFLUXD": influx_server.direct_url}
    given = [urls.get(word, word) for word in (*options, *changed)]
    ended, out, err = run(capsys, "init", "--config", str(tmp_path / "etl.yaml"), *given)
    assert ended == code and said in err, err
    assert len(err.splitlines()) == 1 and "Traceback" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_is_refused(
    capsys: Capture, tmp_path: Path, make_influx: Callable[..., InfluxServer], options: list[str]
) -> None:
    influx = make_influx(token="right")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("wrong\n", encoding="utf-8")
    given = [*options, "--influxdb-url", influx.url, "--influxdb-token-file", str(token)]
    code, _, err = run(capsys, "init", "--config", str(tmp_path / "etl.yaml"), *given)
    assert code == ExitCode.DEPENDENCY
    assert "401" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "etl.yaml").exists()
    code, _, err = run(capsys, "init", "--config", str(tmp_path / "etl.yaml"), *given[:-2])
    assert code == ExitCode.DEPENDENCY
    assert "give --influxdb-token-file" in err, err


def test_nobody_to_ask(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "etlctl", "init", "--config", str(tmp_path / "etl.yaml")],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == ExitCode.CONFIG
    assert ran.stderr == (
        "etlctl: --yes: stdin is no terminal to ask on: give --yes, and options\n"
    )
