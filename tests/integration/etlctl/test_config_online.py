"""``etlctl config check --online`` on a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import ExtractSettings
from common.exit_codes import ExitCode
from devtools.servers.ports import free_port
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient
from tests.support.remote_write import histogram, push, sample, series
from tests.support.secret_folders import Capture, run
from tests.support.settings_files import secret_file

FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
CONFIG = """\
extract:
  prometheus_url: {url}
  settle_seconds: 1
  queries:
    - {{name: raw, select: 'x{{n="1"}}'}}
    - {{name: native, select: 'x{{n="2"}}'}}
    - {{name: elsewhere, select: 'up{{job="test-app"}}'}}
    - {{name: rule, expr: 'sum(x{{n="1"}})', step: 15s}}
    - {{name: scalar, expr: "1 + 1", step: 15s}}
    - {{name: gone, expr: sum(nothing), step: 15s}}
    - {{name: excess, expr: sum(x) > 1e9, step: 15s, may_be_empty: true}}
    - {{name: ambiguous, expr: x / on () x, step: 15s}}
load:
  influxdb: {{url: http://influxdb:8086, token_file: token, org: o, bucket: b}}
"""


def config_of(folder: Path, url: str) -> str:
    secret_file(folder, b"t0ken\n").rename(folder / "token")
    file = folder / "etl.yaml"
    file.write_text(CONFIG.format(url=url))
    return str(file)


def test_each_query_that_gives_nothing_is_said_by_name(
    make_prometheus: Callable[..., PrometheusServer], tmp_path: Path, capsys: Capture
) -> None:
    server = make_prometheus(flags=FLAGS)
    now_ms = PrometheusClient(ExtractSettings(prometheus_url=server.url)).now_ms()
    times = range(now_ms - 60_000, now_ms, 1_000)
    push(
        server,
        series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]),
        series({"__name__": "x", "n": "2"}, [histogram(ms, 7) for ms in times]),
        series({"__name__": "x", "n": "3"}, [sample(ms, 3) for ms in times]),
    )
    config = config_of(tmp_path, server.url)

    code, _, err = run(capsys, "config", "check", "--online", "--config", config)
    code_json, out, _ = run(capsys, "config", "check", "--online", "--json", "--config", config)

    assert (code, code_json) == (0, 0)
    warnings = json.loads(out)["query_warnings"]
    assert warnings.keys() == {"elsewhere", "gone", "ambiguous"}
    assert warnings["elsewhere"] == warnings["gone"] == "matches no series now"
    assert "many-to-many" in warnings["ambiguous"] or "duplicate" in warnings["ambiguous"]
    said = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert said[0] == "warning: query elsewhere: matches no series now"
    assert len(said) == 3


def test_the_default_queries_match_nothing_without_the_test_application(
    make_prometheus: Callable[..., PrometheusServer], tmp_path: Path, capsys: Capture
) -> None:
    config = Path(config_of(tmp_path, make_prometheus().url))
    head, _, rest = config.read_text().partition("  queries:")
    config.write_text(head + rest[rest.index("load:") :])

    _, out, _ = run(capsys, "config", "check", "--online", "--json", "--config", str(config))

    names = {"service_availability", "request_rate", "latency_p95_seconds", "error_ratio"}
    assert json.loads(out)["query_warnings"].keys() == {*names, "test_app"}


@pytest.mark.parametrize(
    ("online", "expected"), [(True, ExitCode.DEPENDENCY), (False, ExitCode.OK)]
)
def test_a_prometheus_that_is_away_matters_online_alone(
    tmp_path: Path, capsys: Capture, online: bool, expected: ExitCode
) -> None:
    config = config_of(tmp_path, f"http://127.0.0.1:{free_port()}")
    options = ["--online"] if online else []

    code, _, err = run(capsys, "config", "check", *options, "--config", config)

    assert code == expected
    assert "Traceback" not in err
