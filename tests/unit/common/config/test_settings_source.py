"""The keys of ``extract`` that say how a source is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Settings, effective, load_settings
from common.errors import ConfigError
from services.extractor.windows import plans_of

BASE = """
extract:
  prometheus_url: https://prometheus:9090/prefix/
{}
load:
  influxdb: {{url: "http://influxdb:8086", org: o, bucket: b}}
"""


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "etl.yaml"
    file.write_text(BASE.format(text))
    return load_settings(file, environ)


def problem(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, **environ)
    assert len(raised.value.problems) == 1, raised.value.problems
    return raised.value.problems[0].replace(f"{tmp_path}/", "")


def test_values_are_text_as_written_and_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-secret\n")
    (tmp_path / "key").chmod(0o600)
    settings = load(
        tmp_path,
        "  headers: {X-Scope-OrgID: 1}\n"
        "  header_files: {X-Api-Key: key}\n"
        "  params: {dedup: true, extra_label: [a=b, 1]}\n"
        "  labels: {zone: no, site: 0x1}\n",
    )
    extract = settings.extract
    assert extract.headers["X-Scope-OrgID"].get_secret_value() == "1"
    assert extract.params == {"dedup": ("true",), "extra_label": ("a=b", "1")}
    assert list(extract.labels.items()) == [("site", "0x1"), ("zone", "no")]
    shown = effective(settings)["extract"]
    assert shown["headers"] == {"X-Scope-OrgID": "********"}
    assert shown["header_files"] == {"X-Api-Key": str(tmp_path / "key")}
    assert shown["labels"] == {"site": "0x1", "zone": "no"}
    assert "the-secret" not in str(shown)


def test_a_variable_sets_one_of_them(tmp_path: Path) -> None:
    settings = load(tmp_path, "", ETL__EXTRACT__PARAMS='{"dedup": "true"}', ETL__EXTRACT__LABELS="")
    assert settings.extract.params == {"dedup": ("true",)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  headers: 1", "etl.yaml:4: extract.headers: must be a mapping of names and values"),
        ("  headers: {X-A: [secret]}", "extract.headers.X-A: must be text: put it in quotes"),
        ("  headers: {X-A: ' secret'}", "must not be empty, nor begin or end with blanks"),
        ("  headers: {X-A: '********'}", "is masked: give the value itself, or a file"),
        ("  headers: {X-A: secret–}", "has characters that no HTTP header can carry"),
        ("  headers: {'X A': secret}", "is no name of an HTTP header"),
        (
            "  headers: {authorization: secret}",
            "extract.headers.authorization: is not set here: it belongs",
        ),
        ("  headers: {Content-Type: secret}", "is a header that the request itself needs"),
        ("  headers: {X-A: b, x-a: c}", "is given twice: upper and lower case are the same"),
        ("  headers: {X-A: b}\n  header_files: {x-a: key}", "is given in headers, too: keep one"),
        ("  header_files: {X-A: nothing}", "nothing, which cannot be read: No such file"),
        ("  params: {query: up}", "extract.params.query: is set by each request itself"),
        ("  params: {a: {b: c}}", "extract.params.a: must be text, or a list of it"),
        ("  params: {a: []}", "extract.params.a: must be text, or a list of it"),
        ("  labels: {__name__: a}", "is no name of a label that a series can be given"),
        ("  labels: {a-b: a}", "is no name of a label that a series can be given"),
        ("  labels: {a: }", "is empty: a label without a value is none"),
        ("  proxy_url: http://u:secret@proxy", "must not carry credentials: name a proxy with a"),
        ("  auth: {server_name: 'a b'}", "extract.auth.server_name: must be an IP address or a"),
        ("  push: {port: 8090}", "extract.push: has neither password nor password_file"),
        ("  push: {port: 70000, password: x}", "extract.push.port"),
        ("  push: {host: 'a b', password: x}", "extract.push.host"),
        ("  push: {key_file: key}", "extract.push.key_file: is given without cert_file"),
        ("  push: {cert_file: key}", "extract.push.cert_file: names"),
        ("  auth: {oauth2: {client_id: a, token_url: 'http://a'}}", "has neither client_secret"),
        (
            "  auth: {username: a, password: secret, oauth2: {client_id: a, client_secret: secret,"
            " token_url: 'http://a'}}",
            "extract.auth: has both a user and oauth2: keep one of them",
        ),
        (
            "  auth: {oauth2: {client_id: a, client_secret: secret, token_url: 'http://a',"
            " endpoint_params: {scope: a}}}",
            "extract.auth.oauth2.endpoint_params.scope: has a key of its own",
        ),
        (
            "  queries: [{name: a, select: a, interval_seconds: 1.0001}]",
            "must be a whole number of milliseconds",
        ),
    ],
)
def test_each_mistake_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("value")
    found = problem(tmp_path, text)
    assert says in found
    assert "secret" not in found.replace("client_secret", "")


def test_a_server_name_without_tls_is_refused(tmp_path: Path) -> None:
    url = {"ETL__EXTRACT__PROMETHEUS_URL": "http://[::1]:9090/a"}
    found = problem(tmp_path, "  auth: {server_name: a}", **url)
    assert "prometheus_url does not begin with https://" in found
    assert load(tmp_path, "", **url).extract.prometheus_url == "http://[::1]:9090/a"


def test_labels_are_a_part_of_what_is_extracted_and_nothing_changes_without(
    tmp_path: Path,
) -> None:
    plain = load(tmp_path, "  queries: [{name: a, select: up}]").extract.queries[0]
    labelled = load(
        tmp_path, "  labels: {b: '2', a: '1'}\n  queries: [{name: a, select: up}]"
    ).extract.queries[0]
    # As versions before `labels` computed it: an upgrade must not extract anything again.
    assert plain.fingerprint("hot") == "a110d0eba7c668f2"
    assert labelled.fingerprint("hot") != plain.fingerprint("hot")
    assert labelled.labels == {"a": "1", "b": "2"}


def test_a_query_has_its_own_interval(tmp_path: Path) -> None:
    slow, fast, expr = load(
        tmp_path,
        "  queries: [{name: a, select: a, interval_seconds: 40s},"
        " {name: b, select: b, interval_seconds: 5s},"
        " {name: c, expr: c, step: 30s, interval_seconds: 1m40s}]",
    ).extract.queries
    assert (slow.step_ms, slow.head_step_ms) == (15_000, 45_000)
    assert (fast.step_ms, fast.head_step_ms) == (5_000, 5_000)
    assert (expr.step_ms, expr.head_step_ms) == (30_000, 120_000)


def test_selectors_that_differ_only_in_a_fixed_label_are_refused(tmp_path: Path) -> None:
    queries = "  queries: [{name: a, select: 'x{site=\"a\"}'}, {name: b, select: 'x{site=\"b\"}'}]"
    assert len(load(tmp_path, queries).extract.queries) == 2
    found = problem(tmp_path, f"  labels: {{site: north}}\n{queries}")
    assert "b may select the same series as a" in found


def test_a_query_has_its_own_beginning_and_pace(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "  initial_lookback_seconds: 2h\n  queries: [{name: a, select: a}, {name: b, select: b,"
        " initial_lookback_seconds: 1d, interval_seconds: 10m, settle_seconds: 5m}]",
    )
    usual, own = plans_of(settings)
    assert (usual.lookback_ms, own.lookback_ms) == (7_200_000, 86_400_000)
    assert (usual.head_step_ms, own.head_step_ms) == (15_000, 600_000)
    now_ms = 1_700_000_000_000
    assert own.head_ms(now_ms) == (now_ms - 300_000) // 600_000 * 600_000
    assert own.next_head_at_ms(now_ms) == own.head_ms(now_ms) + 900_000
    # What came at once is live together, and as long a window as it takes is allowed.
    assert own.live_ms == 600_000
    assert own.lag_limit_ms > usual.lag_limit_ms + 585_000
