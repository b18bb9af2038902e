"""Reading etl.yaml: what works, defaults, environment, secrets, what is in force."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from common.config import (
    DEFAULT_PATH,
    Query,
    Settings,
    Tier,
    advice,
    effective,
    load_settings,
)
from common.config.default_queries import default_queries
from common.errors import ConfigError
from common.samples.rollup import Rollup
from devtools import PROJECT_ROOT
from devtools.docs.configuration import render
from tests.support.settings_files import (
    EXTRACT,
    KEPT,
    LOAD,
    MINIMAL,
    PLAIN,
    load,
)

ROOT = PROJECT_ROOT

# The file that has been in use for years, as it stands.


def test_a_file_with_only_the_kept_keys_works(tmp_path: Path) -> None:
    settings = load(tmp_path, KEPT)
    assert settings.extract.prometheus_url == "http://localhost:9090"
    assert settings.extract.timeout_seconds == 30
    assert settings.transform.valid_metrics == ("up", "http_requests_total")
    assert settings.load.influxdb.url == "http://localhost:8086"
    assert settings.load.influxdb.token.get_secret_value() == "your-token"
    assert settings.load.tiers == {"hot": Tier(bucket="health_metrics")}
    assert settings.pipeline.interval_seconds == 300
    assert settings.pipeline.log_level == "INFO"
    assert {query.step_ms for query in settings.extract.queries} == {300_000}
    assert [(query.name, query.kind) for query in settings.extract.queries] == [
        ("service_availability", "expr"),
        ("request_rate", "expr"),
        ("latency_p95_seconds", "expr"),
        ("error_ratio", "expr"),
        ("test_app", "select"),
    ]


@pytest.mark.parametrize("interval", [1, 15, 60, 3600, 86_400])
def test_the_default_windows_hold_a_step_of_any_interval(tmp_path: Path, interval: int) -> None:
    settings = load(tmp_path, f"{MINIMAL}pipeline: {{interval_seconds: {interval}}}")
    assert settings.extract.live_window_max_seconds >= max(300, interval)


def test_the_shipped_file_is_valid_and_says_what_the_defaults_say() -> None:
    shipped = load_settings(ROOT / DEFAULT_PATH, {}, secrets=())
    assert advice(shipped) == ()
    assert [(one.model_dump(), one.fingerprint("hot")) for one in shipped.extract.queries] == [
        (one.model_dump(), one.fingerprint("hot")) for one in default_queries(15)
    ]
    day = 86_400
    assert [
        (name, tier.retention_seconds, tier.resolution_seconds, tier.window_ms)
        for name, tier in shipped.load.tiers.items()
        if name == "hot" or tier.aggregates
    ] == [
        ("hot", 14 * day, None, 3_600_000),
        ("warm", 90 * day, 300, 3_600_000),
        ("cold", None, 3600, 3_600_000),
    ]
    defaults = Settings.model_validate(PLAIN)
    assert shipped.transform == defaults.transform
    for key in ("settle_seconds", "initial_lookback_seconds", "timeout"):
        assert getattr(shipped.extract, key) == getattr(defaults.extract, key)


def test_keys_without_a_value_are_as_good_as_none(tmp_path: Path) -> None:
    text = MINIMAL + "transform:\npipeline:\n  log_file:\n  # nothing else\n"
    assert load(tmp_path, text) == load(tmp_path, MINIMAL)


def test_the_path_comes_from_the_caller_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("called", "environment", "config/etl"):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{MINIMAL}pipeline: {{redis_namespace: {file.stem}}}")
    monkeypatch.chdir(tmp_path)
    environ = {"ETL_CONFIG": str(tmp_path / "environment.yaml")}

    def namespace(path: Path | None, variables: dict[str, str]) -> str:
        return load_settings(path, variables).pipeline.redis_namespace

    assert namespace(tmp_path / "called.yaml", environ) == "called"
    assert namespace(None, environ) == "environment"
    assert namespace(None, {"ETL_CONFIG": ""}) == "etl"
    assert namespace(None, {}) == "etl"


def test_json_is_yaml_with_all_its_escapes(tmp_path: Path) -> None:
    transform = r'{"valid_metrics": ["\ud83d\ude42", "\u00fc"], "relabel": []}'
    settings = load(tmp_path, f"{MINIMAL}transform: {transform}")
    assert settings.transform.valid_metrics == ("🙂", "ü")
    environ = {"ETL__TRANSFORM": transform}
    assert load(tmp_path, MINIMAL, environ).transform == settings.transform


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    for owner, key in ((settings, "extract"), (settings.pipeline, "drain_seconds")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(owner, key, 1)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("7", 7), ("2.5", 2.5), ("1h", 3600), (20, 20)],
)
def test_durations(tmp_path: Path, written: object, seconds: float) -> None:
    text = MINIMAL + f"pipeline: {{drain_seconds: {json.dumps(written)}}}"
    assert load(tmp_path, text).pipeline.drain_seconds == seconds


@pytest.mark.parametrize(
    ("written", "size_bytes"), [(4096, 4096), ("64KiB", 65_536), ("3MiB", 3 << 20), ("1MB", 10**6)]
)
def test_sizes(tmp_path: Path, written: object, size_bytes: int) -> None:
    text = MINIMAL + f"pipeline: {{high_water_bytes: {json.dumps(written)}}}"
    pipeline = load(tmp_path, text).pipeline
    assert pipeline.high_water_bytes == size_bytes
    assert pipeline.low_water_bytes == size_bytes // 2


def test_a_tier_keeps_what_is_said_and_hot_is_always_there(tmp_path: Path) -> None:
    text = EXTRACT + (
        "load:\n"
        "  influxdb: {url: 'http://i', org: o, bucket: main}\n"
        "  tiers:\n"
        "    warm: {bucket: w, retention: 90d, resolution: 1m, aggregates: [avg, max]}\n"
    )
    settings = load(tmp_path, text)
    tiers = settings.load.tiers
    assert tiers["hot"] == Tier(bucket="main")
    assert tiers["warm"].retention_seconds == 90 * 86_400
    assert tiers["warm"].resolution_seconds == 60
    assert tiers["warm"].aggregates == ("avg", "max")
    assert advice(settings) == ()
    assert list(tiers) == ["hot", "warm"]
    assert tiers["warm"].window_ms == 3_600_000
    (query, *_) = settings.extract.queries
    assert query.rollup("hot") is None
    assert query.rollup("warm") == Rollup(60_000, ("avg", "max"))


# --- fingerprints ----------------------------------------------------------------------------


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    query = Query(name="q", expr="up", step=15)
    assert query.fingerprint("hot") == "4e570989ef594a51"


@pytest.mark.parametrize(
    "other",
    [
        Query(name="p", expr="up", step=15),
        Query(name="q", expr="down", step=15),
        Query(name="q", expr="up", step=30),
        Query(name="q", select="up"),
    ],
)
def test_a_fingerprint_changes_with_what_is_extracted(other: Query) -> None:
    assert other.fingerprint("hot") != Query(name="q", expr="up", step=15).fingerprint("hot")


def test_a_fingerprint_changes_with_its_own_tier_and_the_grid(tmp_path: Path) -> None:
    def fingerprints(resolution: str, more: str = "") -> tuple[str, str]:
        tiers = f"tiers: {{warm: {{bucket: w, resolution: {resolution}, aggregates: [avg]}}}}"
        influxdb = "influxdb: {url: 'http://i', org: o, bucket: b}"
        settings = load(tmp_path, f"{EXTRACT}load: {{{influxdb}, {tiers}}}\n{more}")
        query = settings.extract.queries[-1]
        return query.fingerprint("hot"), query.fingerprint("warm")

    hot, warm = fingerprints("1m")
    assert hot != warm
    assert fingerprints("5m")[0] == hot
    assert fingerprints("5m")[1] != warm
    assert fingerprints("1m", "transform: {valid_metrics: ['*']}\n") == (hot, warm)
    coarser = fingerprints("1m", "pipeline: {interval_seconds: 30}\n")
    assert coarser[0] != hot
    assert coarser[1] != warm


# --- what is in force ------------------------------------------------------------------------


def test_what_is_in_force_hides_every_secret(tmp_path: Path) -> None:
    environ = {
        "ETL__LOAD__INFLUXDB__TOKEN": "hidden-token",
        "ETL__PIPELINE__REDIS_PASSWORD": "hidden-password",
        "ETL__PIPELINE__METRICS_PASSWORD": "hidden-too",
        "ETL__EXTRACT__AUTH__BEARER_TOKEN": "hidden-bearer",
    }
    settings = load(tmp_path, MINIMAL, environ)
    shown = json.dumps(effective(settings))
    assert "hidden" not in shown
    assert shown.count('"********"') == 4
    assert effective(settings)["extract"]["auth"]["password"] == ""
    assert effective(settings, mask=False)["load"]["influxdb"]["token"] == "hidden-token"
    assert "hidden" not in repr(settings) + str(settings)


def test_what_is_in_force_is_a_valid_file_again(tmp_path: Path) -> None:
    settings = load(tmp_path, KEPT)
    text = yaml.safe_dump(effective(settings, mask=False))
    again = load(tmp_path, text)
    assert again == settings
    assert [q.fingerprint("hot") for q in again.extract.queries] == [
        q.fingerprint("hot") for q in settings.extract.queries
    ]


def test_the_document_is_what_the_models_say() -> None:
    """Render it again with `python -m devtools.docs.configuration > docs/configuration.md`."""
    assert (ROOT / "docs" / "configuration.md").read_text() == render()


def test_every_key_is_documented() -> None:
    text = render()
    for line in text.splitlines():
        if line.startswith("| `"):
            key, _, _, _, meaning = (cell.strip() for cell in line[1:-1].split(" | "))
            assert meaning.endswith("."), key
    shown = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    for section, keys in effective(Settings.model_validate(PLAIN)).items():
        for key in keys:
            assert any(f"{section}.{key}" in name for name in shown), key


# Keys that nothing uses yet, each with what is said when it is given.
def test_every_key_is_used() -> None:
    used = {
        node.attr
        for folder in ("common", "services", "etlctl")
        for path in (ROOT / folder).rglob("*.py")
        if "config" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    # Secrets' files are read, and these properties used instead of their keys, by the settings.
    used |= {"password_file", "bearer_token_file", "token_file"}
    used |= {"redis_password_file", "metrics_password_file"}
    used |= {"expr", "select", "step", "timeout", "retention", "resolution"}
    used |= {"aggregates", "tiers", "window", "preset", "native_histograms"}
    lines = [line for line in render().splitlines() if line.startswith("| `") and "." in line]
    keys = {line.split("`")[1].split(".")[-1] for line in lines}
    assert keys <= used


def test_aggregates_without_a_rollup_are_remarked_on(tmp_path: Path) -> None:
    text = LOAD + (
        "extract:\n"
        "  prometheus_url: http://p\n"
        "  queries: [{name: q, expr: up, step: 15s, aggregates: [max]}]\n"
    )
    assert advice(load(tmp_path, text)) == (
        "extract.queries[].aggregates: load.tiers has no rollup that would hold them",
    )


def test_valid_metrics_that_drop_a_whole_query_are_remarked_on(tmp_path: Path) -> None:
    found = advice(load(tmp_path, KEPT))
    assert len(found) == 4
    assert found[0] == (
        "query service_availability: its measurement is not in transform.valid_metrics, "
        "so everything it extracts is dropped"
    )


def test_valid_metrics_that_drop_a_query_s_histograms_are_remarked_on(tmp_path: Path) -> None:
    text = LOAD + (
        "extract:\n"
        "  prometheus_url: http://p\n"
        "  queries: [{name: q, expr: up, step: 15s, native_histograms: classic}]\n"
        "transform: {valid_metrics: [q, q_sum, q_count]}\n"
    )
    assert advice(load(tmp_path, text)) == (
        "query q: transform.valid_metrics lacks q_bucket, so that of its histograms is dropped",
    )
    assert advice(load(tmp_path, text.replace("[q, q_sum, q_count]", '["q_*"]'))) == ()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {})
    assert str(caught.value) == (
        f"{file}: cannot be read: No such file or directory "
        "(name the file with --config or ETL_CONFIG)"
    )
