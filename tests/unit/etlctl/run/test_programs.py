"""How the processes of ``etlctl run`` are configured."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from common.errors import ConfigError
from etlctl.run.ports import HOST
from etlctl.run.programs import STAGES, Wanted, programs
from tests.support.settings_files import MINIMAL, load


def wanted(*, with_metrics: bool = False, port: int | None = None) -> Wanted:
    return Wanted(Path("etl.yaml"), with_metrics, port)


def test_each_has_a_port_of_its_own_and_all_have_the_redis(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    redis = {"ETL__PIPELINE__REDIS_URL": "redis://127.0.0.1:7/0"}
    found = programs(settings, wanted(with_metrics=True), {"A": "b"}, redis)
    assert [one.name for one in found] == [*STAGES, "etl-metrics"]
    assert len({one.port for one in found}) == len(found)
    for one in found[:-1]:
        assert one.environ["ETL__PIPELINE__HTTP_PORT"] == str(one.port)
        assert one.environ["ETL__PIPELINE__HTTP_HOST"] == HOST
    for one in found:
        assert one.environ["A"] == "b"
    exporter = found[-1].environ
    assert exporter["ETL_METRICS_REDIS_URL"] == "redis://127.0.0.1:7/0"
    assert exporter["ETL_METRICS_HTTP_PORT"] == str(found[-1].port)


def test_a_first_port_is_counted_on(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        settings = load(tmp_path, MINIMAL)
        with pytest.raises(ConfigError, match=f"^port {port} on {HOST}, for the extractor, is in"):
            programs(settings, wanted(port=port), {}, {})
    text = f"{MINIMAL}pipeline: {{http_port: 65534, http_host: '::1'}}\n"
    with pytest.raises(ConfigError, match="port 65536 on ::1, for the loader"):
        programs(load(tmp_path, text), wanted(), {}, {})


def test_ports_end_at_65535(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    with pytest.raises(ConfigError) as caught:
        programs(settings, wanted(port=65_533), {}, {})
    assert caught.value.problems[-1] == (
        f"port 65536 on {HOST}, for the verifier, is beyond the last, 65535: name another first "
        "port with --port (0 = free ones) or pipeline.http_port"
    )


@pytest.mark.parametrize("file", ["etl.log", "{service}.log", "{pid}.log"])
def test_the_stages_do_not_share_a_log_file(tmp_path: Path, file: str) -> None:
    settings = load(tmp_path, f"{MINIMAL}pipeline: {{log_file: '{tmp_path}/{file}'}}\n")
    if "{" in file:
        assert programs(settings, wanted(), {}, {})
        return
    with pytest.raises(ConfigError, match=r"^pipeline.log_file: .* the stages would share it"):
        programs(settings, wanted(), {}, {})


@pytest.mark.parametrize("name", ["redis_password", "metrics_password"])
def test_etl_metrics_reads_passwords_from_files_alone(tmp_path: Path, name: str) -> None:
    settings = load(tmp_path, f"{MINIMAL}pipeline: {{{name}: secret}}\n")
    assert programs(settings, wanted(), {}, {})
    with pytest.raises(ConfigError, match=f"pipeline.{name}: .* use {name}_file"):
        programs(settings, wanted(with_metrics=True), {}, {})


def test_etl_metrics_asks_the_same_sentinels(tmp_path: Path) -> None:
    url = "redis+sentinel://a,b:1/main/0"
    (tmp_path / "asked").touch(mode=0o600)
    (tmp_path / "asked").write_text("word")
    pipeline = (
        f"redis_url: '{url}', redis_sentinel_username: me, "
        f"redis_sentinel_password_file: {tmp_path}/asked"
    )
    settings = load(tmp_path, f"{MINIMAL}pipeline: {{{pipeline}}}\n")
    environ = programs(settings, wanted(with_metrics=True), {}, {})[-1].environ
    assert environ["ETL_METRICS_REDIS_URL"] == url
    assert environ["ETL_METRICS_REDIS_SENTINEL_USERNAME"] == "me"
    assert environ["ETL_METRICS_REDIS_SENTINEL_PASSWORD_FILE"] == f"{tmp_path}/asked"
    unfiled = f"redis_url: '{url}', redis_sentinel_password: word"
    settings = load(tmp_path, f"{MINIMAL}pipeline: {{{unfiled}}}\n")
    with pytest.raises(ConfigError, match="use redis_sentinel_password_file"):
        programs(settings, wanted(with_metrics=True), {}, {})
