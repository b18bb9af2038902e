"""``etlctl import``: what it writes is valid, and what it leaves out is said."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import load_settings
from common.promql.relabel import Labels, compile_rules
from tests.support.secret_folders import Capture, run

TELEGRAF = """\
[global_tags]
  dc = "eu$1"
[agent]
  interval = "1m30s"
  omit_hostname = true
[[inputs.promql]]
  url = "http://prometheus:9090/"
  username = "me"
  password = "${PROM_PASSWORD}"
  [[inputs.promql.instant]]
    query = 'up{job="node"}'
  [[inputs.promql.instant]]
    name = "load"
    query = 'avg(node_load1)'
    limit = 10
  [[inputs.promql.range]]
    query = 'go_goroutines{job="a"}'
    start = "5m"
    step = "60s"
[[inputs.cpu]]
[[processors.regex]]
  [[processors.regex.tags]]
    key = "code"
    pattern = "^(\\\\d)\\\\d\\\\d$"
    replacement = "${1}xx"
[[outputs.influxdb_v2]]
  urls = ["http://influxdb:8086"]
  token = "open sesame"
  organization = "monitoring"
  bucket = "metrics"
"""

TAGS = "[[processors.regex]]\n[[processors.regex.tags]]\n"

PROMETHEUS = """\
global: {scrape_interval: 20s, evaluation_interval: 15s, external_labels: {cluster: eu}}
remote_write:
- url: https://elsewhere/api/v1/write
- url: http://influxdb:8086/x/api/v1/prom/write?db=prom&rp=years&u=writer&p=pa%26ss
  send_exemplars: true
  write_relabel_configs:
  - {source_labels: [__name__], regex: go_.*, action: drop}
"""


def imported(
    capsys: Capture, folder: Path, text: str, *more: str, name: str = "telegraf.conf"
) -> tuple[int, dict[str, Any]]:
    """Exit code and document of the command over a file with ``text``."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    output = str(folder / "etl.yaml")
    code, out, _ = run(capsys, "import", str(file), "--output", output, "--json", *more)
    return code, json.loads(out)


def test_telegraf_becomes_a_valid_configuration(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROM_PASSWORD", "of the environment")
    code, said = imported(capsys, tmp_path, TELEGRAF)
    assert code == 0
    assert said["notes"] == [
        'inputs.promql.instant[0]: up{job="node"} is read as raw samples with their own timestamps'
        " instead of one value an interval",
        "inputs.promql.instant[1]: not carried: limit",
        "inputs.cpu: not carried: it does not read Prometheus",
    ]
    settings = load_settings(tmp_path / "etl.yaml", {})
    assert settings.extract.prometheus_url == "http://prometheus:9090"
    assert settings.extract.auth.password.get_secret_value() == "of the environment"
    assert settings.load.influxdb.token.get_secret_value() == "open sesame"
    assert [(q.name, q.select, q.expr, q.step) for q in settings.extract.queries] == [
        ("up", 'up{job="node"}', None, None),
        ("load", None, "avg(node_load1)", 90.0),
        ("go_goroutines", None, 'go_goroutines{job="a"}', 60.0),
    ]
    relabel = compile_rules(settings.transform.relabel)
    for code_label, kept in (("204", "2xx"), ("2040", "2040")):
        labels = Labels({"code": code_label})
        assert relabel(labels)
        assert dict(labels) == {"code": kept, "dc": "eu$1"}
    labels = Labels({"dc": "mine"})
    assert relabel(labels)
    assert dict(labels) == {"dc": "mine"}


def test_a_cluster_its_name_and_its_headers_are_carried(tmp_path: Path, capsys: Capture) -> None:
    text = TELEGRAF.replace("${PROM_PASSWORD}", "p") + (
        '  tls_server_name = "influxdb.example"\n  bucket_tag = "team"\n'
        '  http_headers = {"X-Scope-OrgID" = "t-7", Authorization = "s3cret"}\n'
    )
    text = text.replace('"http://influxdb:8086"', '"http://a:8086", "http://b:8086/"')
    code, said = imported(capsys, tmp_path, text)
    assert code == 0
    assert "outputs.influxdb_v2.http_headers.Authorization: not carried" in str(said["notes"])
    assert "name the buckets of each team in load.bucket_from" in str(said["notes"])
    influxdb = load_settings(tmp_path / "etl.yaml", {}).load.influxdb
    assert influxdb.all_urls == ("http://a:8086", "http://b:8086")
    assert influxdb.server_name == "influxdb.example"
    (file,) = influxdb.header_files.values()
    assert Path(file).read_text(encoding="utf-8") == "t-7\n"


def test_a_remote_write_to_influxdb_becomes_a_valid_configuration(
    tmp_path: Path, capsys: Capture
) -> None:
    code, said = imported(capsys, tmp_path, PROMETHEUS, name="prometheus.yml")
    assert code == 0
    assert said["notes"] == [
        "remote_write[0] (https://elsewhere/api/v1/write): not carried",
        "remote_write[1]: not carried: send_exemplars",
        "no Prometheus is named: http://localhost:9090 is assumed (--prometheus URL)",
    ]
    settings = load_settings(tmp_path / "etl.yaml", {})
    sink = settings.load.influxdb
    assert (sink.url, sink.bucket, sink.username) == (
        "http://influxdb:8086/x", "prom/years", "writer",
    )  # fmt: skip
    assert sink.password.get_secret_value() == "pa&ss"
    assert settings.extract.settle_seconds == 32.0  # 1.1 × 20 s + 10 s
    assert [rule.action for rule in settings.transform.relabel] == ["replace", "drop"]


def test_secrets_are_files_that_only_the_owner_reads(tmp_path: Path, capsys: Capture) -> None:
    _, said = imported(capsys, tmp_path, TELEGRAF)
    token = tmp_path / "secrets" / "influxdb_token"
    assert said["secrets"] == [str(token)]
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    text = (tmp_path / "etl.yaml").read_text(encoding="utf-8")
    assert "open sesame" not in text
    assert "# inputs.promql.password refers to ${PROM_PASSWORD}" in text


def test_nothing_is_replaced_unless_forced(tmp_path: Path, capsys: Capture) -> None:
    file, there = tmp_path / "telegraf.conf", tmp_path / "etl.yaml"
    file.write_text(TELEGRAF, encoding="utf-8")
    there.write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, "import", str(file), "--output", str(there))
    assert (code, there.read_text(encoding="utf-8")) == (2, "mine")
    assert f"{there} is there already: --force replaces it" in err
    assert not (tmp_path / "secrets").exists()
    assert imported(capsys, tmp_path, TELEGRAF, "--force")[0] == 0
    assert there.read_text(encoding="utf-8") != "mine"


PROMETHEUS_INPUT = """\
[[inputs.prometheus]]
  urls = ["http://a-b:9100/metrics"]
  metric_version = 2
"""


def test_telegraf_s_metric_version_2_becomes_a_layout(tmp_path: Path, capsys: Capture) -> None:
    code, said = imported(capsys, tmp_path, PROMETHEUS_INPUT)
    assert code == 0
    assert said["settings"]["load"]["layout"] == {"preset": "telegraf_v2"}
    assert any("a field of the measurement prometheus" in each for each in said["notes"])
    (tmp_path / "1").mkdir()
    _, said = imported(capsys, tmp_path / "1", PROMETHEUS_INPUT.replace("= 2", "= 1"))
    assert "layout" not in said["settings"]["load"]


def test_a_layout_that_would_hold_for_other_inputs_too_is_said(
    tmp_path: Path, capsys: Capture
) -> None:
    _, said = imported(capsys, tmp_path, TELEGRAF + PROMETHEUS_INPUT)
    assert "layout" not in said["settings"]["load"]
    assert any("metric_version: not carried" in each for each in said["notes"])


def test_what_is_not_valid_yet_is_written_and_said(tmp_path: Path, capsys: Capture) -> None:
    both = TELEGRAF + '[[inputs.prometheus]]\n  urls = ["http://a-b:9100/metrics"]\n'
    code, said = imported(capsys, tmp_path, both)
    assert code == 2
    assert any("prometheus may select the same series as up" in each for each in said["problems"])
    written = yaml.safe_load((tmp_path / "etl.yaml").read_text(encoding="utf-8"))
    assert written == said["settings"]
    assert written["extract"]["queries"][-1]["select"] == '{instance=~"a-b:9100"}'


def test_the_folder_is_made_and_only_what_is_carried_has_an_order(
    tmp_path: Path, capsys: Capture
) -> None:
    conf, output = tmp_path / "telegraf.conf", tmp_path / "new" / "etl.yaml"
    conf.write_text(TELEGRAF + "[[processors.starlark]]\n", encoding="utf-8")
    code, _, err = run(capsys, "import", str(conf), "--output", str(output))
    assert code == 0, err
    assert output.exists() and "processors.starlark: not carried" in err
    assert "in this order" not in err


def test_options_fill_what_the_file_does_not_name(tmp_path: Path, capsys: Capture) -> None:
    text = '[[inputs.promql]]\n[[inputs.promql.instant]]\nquery = "up"\n'
    options = ["--prometheus", "http://p:9090", "--influxdb", "http://i:8086", "--org", "o"]
    code, said = imported(capsys, tmp_path, text, *options, "--bucket", "b")
    assert code == 0
    assert said["settings"]["extract"]["prometheus_url"] == "http://p:9090"
    assert said["settings"]["load"]["influxdb"] == {
        "url": "http://i:8086",
        "org": "o",
        "bucket": "b",
    }


@pytest.mark.parametrize(
    ("processor", "reason"),
    [
        (TAGS + 'key="a"\npattern="b"\nreplacement="c"', "b may match a part"),
        (TAGS + 'key="a"\npattern="^b|c$"', "may match a part"),
        (TAGS + 'key="a"\npattern="^b\\\\$"', "may match a part"),
        (TAGS + 'key="a"\npattern="^.*$"', "also matches series without"),
        (TAGS + 'key="*"\npattern="^b$"', "changes every tag"),
        ('[[processors.regex]]\n[[processors.regex.fields]]\nkey="a"', "it has fields"),
        ('[[processors.rename.replace]]\nfield="a"\ndest="b"', "a field is renamed, a"),
        ('[[processors.strings.trim]]\ntag="a"', "it has trim"),
        ('[[processors.strings.lowercase]]\nfield="a"', "lowercase of something else"),
        ("[[processors.dedup]]", "relabelling has no counterpart"),
        ('[[processors.override]]\nnamepass=["a"]', "it has namepass"),
    ],
)
def test_a_processor_is_carried_whole_or_not_at_all(
    tmp_path: Path, capsys: Capture, processor: str, reason: str
) -> None:
    _, said = imported(capsys, tmp_path, TELEGRAF + processor + "\n")
    rules = said["settings"]["transform"]["relabel"]
    carried = ["dc", "code"]
    assert [rule["target_label"] for rule in rules] == carried
    assert any("not carried" in note and reason in note for note in said["notes"])


def test_names_and_tags_are_changed_as_telegraf_does(tmp_path: Path, capsys: Capture) -> None:
    text = TELEGRAF + (
        '[[processors.rename]]\n[[processors.rename.replace]]\ntag="instance"\ndest="host"\n'
        '[[processors.rename.replace]]\nmeasurement="a.b"\ndest="c"\n'
        '[[processors.override]]\nname_prefix="x_"\n[processors.override.tags]\nteam="ops"\n'
        '[[processors.strings]]\n[[processors.strings.uppercase]]\ntag="host"\n'
    )
    assert imported(capsys, tmp_path, text)[0] == 0
    relabel = compile_rules(load_settings(tmp_path / "etl.yaml", {}, ()).transform.relabel)
    labels = Labels({"__name__": "a.b", "instance": "web", "dc": "d"})
    assert relabel(labels)
    assert dict(labels) == {"__name__": "x_c", "host": "WEB", "dc": "d", "team": "ops"}


def test_what_looks_like_a_number_is_the_text_that_prometheus_takes_it_for(
    tmp_path: Path, capsys: Capture
) -> None:
    text = (
        "global:\n  external_labels: {replica: 01, since: 2024-05-01}\n"
        "remote_write:\n- url: http://influxdb:8086/api/v1/prom/write?db=prom\n"
        "  basic_auth: {username: 7, password: 0123}\n  tls_config:\n  write_relabel_configs:\n"
        "  - {source_labels: [a], target_label: b, modulus: 8, action: hashmod}\n"
        "  - {source_labels: [a], regex: 404, action: drop}\n"
    )
    code, said = imported(capsys, tmp_path, text, name="prometheus.yml")
    assert (code, said["problems"]) == (0, [])
    *constants, hashed, dropped = said["settings"]["transform"]["relabel"]
    assert [rule["replacement"] for rule in constants] == ["01", "2024-05-01"]
    assert (hashed["modulus"], dropped["regex"]) == (8, "404")
    assert (tmp_path / "secrets" / "influxdb_password").read_text() == "0123\n"


def test_a_key_without_a_value_is_what_prometheus_takes_it_for(
    tmp_path: Path, capsys: Capture
) -> None:
    """As its status/config shows: the default of a duration, and an empty text in a rule."""
    rules = ("replacement: ", "separator: ~", "modulus: null", "regex: ", "source_labels: ")
    text = (
        "global: {scrape_interval: , scrape_timeout: ~, external_labels: {zone: }}\n"
        "remote_write:\n- url: http://influxdb:8086/api/v1/prom/write?db=prom\n"
        "  name:\n  tls_config:\n  write_relabel_configs:\n"
        "  - &all {source_labels: [a, b], target_label: t}\n"
    ) + "".join(f"  - {{<<: *all, {rule}}}\n" for rule in rules)
    code, said = imported(capsys, tmp_path, text, name="prometheus.yml")
    assert (code, said["problems"]) == (0, [])
    settings = load_settings(tmp_path / "etl.yaml", {})
    assert settings.extract.settle_seconds == 76.0  # 1.1 × 1 m + 10 s
    _zone, _all, replaced, separated, counted, matched, sourced = settings.transform.relabel
    assert (replaced.replacement, separated.separator, matched.regex) == ("", "", "")
    assert (replaced.separator, separated.replacement) == (counted.separator, "$1") == (";", "$1")
    assert sourced.source_labels == ()


def test_the_password_of_another_remote_write_is_not_shown(tmp_path: Path, capsys: Capture) -> None:
    other = "- url: http://u:hunter2@b:8086/api/v1/prom/write?db=x&u=u&p=hunter2\n"
    _, said = imported(capsys, tmp_path, PROMETHEUS + other, name="prometheus.yml")
    assert "remote_write[2] (http://b:8086/api/v1/prom/write): not carried" in said["notes"]
    assert "hunter2" not in (tmp_path / "etl.yaml").read_text()


def test_a_remote_write_without_an_address_is_said_to_have_none(
    tmp_path: Path, capsys: Capture
) -> None:
    _, said = imported(capsys, tmp_path, PROMETHEUS + "- url:\n", name="prometheus.yml")
    assert "remote_write[2] (no url): not carried" in said["notes"]
    (tmp_path / "1").mkdir()
    _, said = imported(capsys, tmp_path / "1", "remote_write: [{}]\n", name="prometheus.yml")
    assert "remote_write: has no url: name it (--influxdb URL)" in said["notes"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.conf", "[[inputs", "is no TOML"),
        ("a.conf", "[agent]\n", "has neither inputs.promql with queries nor inputs.prometheus"),
        ("a.conf", "inputs = 3\n", "inputs must be a table of keys"),
        ("a.conf", TELEGRAF.replace("1m30s", "soon"), "'soon' is not a duration"),
        ("a.conf", TELEGRAF.replace('"http://influxdb:8086"', '"udp://x:1"'), "is no http or"),
        ("a.conf", TELEGRAF.replace("'avg(node_load1)'", "3"), "instant[1].query must be text"),
        ("a.conf", "a = " + "[" * 20_000, "is nested too deeply"),
        ("a.conf", "a = " + "1" * 5_000, "is no TOML: Exceeds the limit"),
        ("a.conf", TELEGRAF.replace("1m30s", "9" * 400 + "s"), "is not a duration"),
        ("a.yml", "remote_write: [p: {", "a.yml:1 is no YAML"),
        ("a.yml", "[" * 20_000, "cannot be read: maximum recursion depth"),
        ("a.yml", "remote_write: !!timestamp 2001-99-99", "cannot be read: month must be in"),
        ("a.yml", 'remote_write: [{url: "http://[x"}]', "remote_write.url is no URL"),
        ("a.yml", "remote_write: [{url: 'http://u:p\u2100@x'}]", "remote_write.url is no URL\n"),
        ("a.yml", "remote_write: [{url: 'u:hunter2@b:8086/x'}]", "remote_write.url is no URL\n"),
        ("a.yml", "remote_write: [{url: 'http://u:p/w@b:1/x'}]", "remote_write.url is no URL\n"),
        ("a.yml", "global: {}", "has no remote_write"),
        ("a.yml", "7", "the file must be a table of keys"),
        ("a.yml", "global: {scrape_interval: x}\nremote_write: [{}]", "global.scrape_interval"),
    ],
)
def test_a_file_that_is_wrong_gets_one_sentence(
    tmp_path: Path, capsys: Capture, name: str, text: str, problem: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    output = str(tmp_path / "etl.yaml")
    code, _, err = run(capsys, "import", str(tmp_path / name), "--output", output)
    assert code == 2
    assert problem in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "etl.yaml").exists()


def test_a_file_that_is_not_there_gets_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, "import", str(tmp_path / "no.conf"))
    assert (code, err.count("\n")) == (2, 1)
    assert "no.conf cannot be read: No such file or directory" in err


def test_what_is_printed_is_no_file_to_go_on_with(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(PROMETHEUS.replace("&u=writer&p=pa%26ss", ""), encoding="utf-8")
    code, out, err = run(capsys, "import", str(file), "--output", "-")
    assert code == 0
    assert yaml.safe_load(out)["load"]["influxdb"]["bucket"] == "prom/years"
    assert "--config -" not in err


def test_headers_proxy_and_server_name_of_a_remote_write_are_carried(
    tmp_path: Path, capsys: Capture
) -> None:
    text = PROMETHEUS.replace(
        "  send_exemplars: true\n",
        "  headers: {X-Scope-OrgID: t-7, Authorization: s3cret}\n  proxy_url: http://proxy:3128\n"
        "  tls_config: {server_name: influxdb.example}\n",
    )
    code, said = imported(capsys, tmp_path, text, name="prometheus.yml")
    assert code == 0
    assert "remote_write[1].headers.Authorization: not carried" in str(said["notes"])
    assert not [note for note in said["notes"] if "server_name" in note or "proxy" in note]
    influxdb = load_settings(tmp_path / "etl.yaml", {}).load.influxdb
    assert (influxdb.server_name, influxdb.proxy_url) == ("influxdb.example", "http://proxy:3128")
    (file,) = influxdb.header_files.values()
    assert Path(file).read_text(encoding="utf-8") == "t-7\n"
