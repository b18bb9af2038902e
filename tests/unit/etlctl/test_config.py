"""``etlctl config check``: what it accepts, a service starts with, and the other way round."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from common.config import Settings, load_settings
from common.errors import ConfigError
from tests.support.certificates import certificates
from tests.support.secret_folders import Capture, run
from tests.support.settings_files import secret_file

CONFIG = """\
extract:
  prometheus_url: http://prometheus:9090
  auth: {username: etl, password_file: private/secret}
  queries:
    - {name: "job:up:sum", expr: sum by (job) (up), step: 1m}
    - {name: raw, select: '{job="x"}'}
transform:
  relabel:
    - {source_labels: [größe, 1], regex: true, target_label: 1.50, replacement: off}
    - {action: labeldrop, regex: 2024-01-01}
load:
  influxdb: {url: http://influxdb:8086, token_file: private/secret, org: o, bucket: b}
  tiers:
    warm: {bucket: w, resolution: 1m, aggregates: [avg], retention: 90d}
pipeline: {redis_url: rediss://redis/0, redis_ca_file: certificates/tls_ca.crt}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that names its secrets relatively, and a working directory elsewhere."""
    for name in os.environ:
        if name.startswith("ETL"):
            monkeypatch.delenv(name)
    private, elsewhere = tmp_path / "etc" / "private", tmp_path / "elsewhere"
    private.mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    secret_file(private, b"open sesame\n")
    certificates(private.parent)
    file = private.parent / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def test_secret_files_lie_beside_the_configuration_for_all_who_read_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def assert_found(file: Path) -> None:
        assert run(capsys, "config", "check", "--config", str(file))[0] == 0
        settings = load_settings(file, {}, secrets=("load", "pipeline"))
        assert settings.load.influxdb.token.get_secret_value() == "open sesame"
        # Some are opened later, by whoever has the settings.
        for path, name in (
            (settings.pipeline.redis_ca_file, "certificates/tls_ca.crt"),
            (settings.load.influxdb.token_file, "private/secret"),
        ):
            assert path is not None
            assert os.path.isabs(path)
            assert Path(path).samefile(config.parent / name)

    assert_found(config)
    assert_found(Path("../etc/etl.yaml"))
    monkeypatch.chdir(config.parent)
    assert_found(Path("etl.yaml"))


def test_paths_of_the_environment_go_by_the_same_rule(config: Path) -> None:
    other = secret_file(config.parent, b"other\n")
    environ = {"ETL__LOAD__INFLUXDB__TOKEN_FILE": "secret"}
    settings = load_settings(config, environ)
    assert settings.load.influxdb.token.get_secret_value() == "other"
    assert settings.load.influxdb.token_file == str(other)


def test_what_is_printed_can_be_read_back(config: Path, tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "config", "check", "--config", str(config))
    assert code == 0
    again = tmp_path / "elsewhere" / "again.yaml"
    again.write_text(out, encoding="utf-8")
    assert _same(load_settings(again, {}), load_settings(config, {}))
    code, printed_again, _ = run(capsys, "config", "check", "--config", str(again))
    assert (code, printed_again) == (0, out)


def _same(one: Settings, other: Settings) -> bool:
    fingerprints = [[q.fingerprint("warm") for q in s.extract.queries] for s in (one, other)]
    return one == other and fingerprints[0] == fingerprints[1]


def test_a_masked_secret_is_not_taken_for_the_secret(config: Path, capsys: Capture) -> None:
    config.write_text(CONFIG.replace("token_file: private/secret", "token: t0ken"))
    _, out, _ = run(capsys, "config", "check", "--config", str(config))
    assert yaml.safe_load(out)["load"]["influxdb"]["token"] == "********"
    config.write_text(out)
    code, _, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 2
    assert err.rstrip().endswith(
        "load.influxdb.token: is masked: give the secret itself, or token_file"
    )
    # A variable takes the place of what the file says.
    environ = {"ETL__LOAD__INFLUXDB__TOKEN": "t0ken"}
    assert load_settings(config, environ).load.influxdb.token.get_secret_value() == "t0ken"


def test_a_token_file_that_sink_init_will_make_is_said_and_is_no_problem(
    config: Path, capsys: Capture
) -> None:
    token = config.parent / "token"
    config.write_text(CONFIG.replace("token_file: private/secret", "token_file: token"))
    said = f"token_file names {token}, which is not there: `etlctl sink init` makes it"

    code, _, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 0
    assert f"note: {said}" in err.splitlines()
    code, out, _ = run(capsys, "config", "check", "--json", "--config", str(config))
    document = json.loads(out)
    assert (code, document["valid"]) == (0, True)
    assert said in document["advice"]

    # The loader cannot start without it.
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {}, secrets=("load",))
    (problem,) = caught.value.problems
    assert problem.endswith(f"load.influxdb.{said.replace('token_file', 'token_file:', 1)}")
    # What is there, but cannot be used, is a problem for both.
    token.write_bytes(b"\n")
    token.chmod(0o600)
    assert run(capsys, "config", "check", "--config", str(config))[0] == 2


@pytest.mark.parametrize(("select", "counted"), [(True, "2 queries"), (False, "1 query")])
def test_queries_are_counted_in_proper_english(
    config: Path, capsys: Capture, select: bool, counted: str
) -> None:
    if not select:
        lines = CONFIG.splitlines(keepends=True)
        config.write_text("".join(line for line in lines if "name: raw" not in line))
    _, _, err = run(capsys, "config", "check", "--config", str(config))
    assert err.splitlines()[-1] == f"{config} is valid: {counted}"


def test_those_of_a_shard_are_counted_and_shown(config: Path, capsys: Capture) -> None:
    config.write_text(CONFIG.replace("pipeline: {", "pipeline: {shard: 4/4, "))
    code, out, err = run(capsys, "config", "check", "--config", str(config))
    assert err.splitlines()[-1] == f"{config} is valid: 1 of 2 queries, shard 4/4"
    (query,) = yaml.safe_load(out)["extract"]["queries"]
    assert (code, query["name"]) == (0, "raw")
