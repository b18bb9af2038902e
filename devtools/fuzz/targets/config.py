"""etl.yaml and the environment, damaged: settings that can be used, or :class:`ConfigError`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from common.config import Settings, advice, effective, load_settings
from common.errors import ConfigError
from common.promql.reach import reach_of
from common.runtime.wiring import stage_limits
from common.samples.series import SeriesEncoder
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from services.extractor.windows import plans_of

_BASES = (
    """\
extract:
  prometheus_url: http://prometheus:9090
  timeout: 30s
  queries:
    - name: rate
      expr: sum by (job) (rate(http_requests_total{job="a"}[5m]))
      step: 15s
    - {name: app, select: '{job="a"}'}
load:
  influxdb: {url: http://influxdb:8086, token: t0ken, org: o, bucket: b}
""",
    """\
extract: &e
  prometheus_url: http://prometheus:9090
  auth: {username: u, password: p, verify: false}
  settle_seconds: 2.5
transform:
  valid_metrics: ["up", "http_*"]
  max_future_seconds: 10m
  relabel:
    - {source_labels: [job, a], separator: ";", regex: "(.*)x", target_label: b, replacement: $1}
    - {action: labeldrop, regex: "tmp_.*"}
    - {action: hashmod, source_labels: [a], modulus: 8, target_label: h}
load:
  influxdb: {url: http://influxdb:8086, org: o, bucket: b}
""",
    """\
extract: {prometheus_url: "http://prometheus:9090/prefix/"}
load:
  influxdb: {url: http://influxdb:8086, org: o, bucket: b, timeout_seconds: 5}
  tiers:
    hot: {bucket: b, retention: 14d}
    warm: {bucket: w, resolution: 1m, aggregates: [avg, min]}
  group_bytes: 2MiB
  max_rejected_share: 0.5
pipeline:
  interval_seconds: 15s
  log_level: info
  redis_url: redis://redis:6379/0
  high_water_bytes: 256MiB
  low_water_bytes: 128MiB
  dead_letters: {max_entries: 10, mirror_path: dead.jsonl}
""",
)
_TOKENS = (
    *(
        "extract:",
        "load:",
        "pipeline:",
        "queries:",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "  ",
        "{",
        "}",
        "[",
        "]",
    ),
    *(
        "&a ",
        "*a",
        "*e",
        "<<: *e",
        "!!int ",
        "!!python/object:x ",
        "? ",
        "|\n",
        ">\n",
        "# ",
        "'",
        '"',
    ),
    *("---\n", "...\n", "%YAML 1.1\n", "null", "~", "yes", "0x10", "0o7", "1_000", ".inf", ".nan"),
    *("2024-13-45", "2024-01-01", "12:30:45", "=", "\t", "\u0085", '"\\ud800"', '"\\x00"', "\x07"),
    *(
        "15s",
        "5m",
        "99y",
        "10MiB",
        "-1",
        "1e999",
        "http://[::1",
        "http://a:b@c",
        "unix:///x",
        "file",
    ),
    *("password_file: /nonexistent", "token_file: .", "ca_file: /", "step: 15s", "select: up"),
)
_VARIABLES = (
    *("ETL__LOAD__INFLUXDB__URL", "ETL__EXTRACT__QUERIES", "ETL__PIPELINE__REDIS_URL", "ETL__"),
    *("ETL__TRANSFORM__RELABEL", "ETL__LOAD__TIERS__HOT__BUCKET", "ETL__EXTRACT__AUTH", "ETL____"),
    *(
        "etl__pipeline__interval_seconds",
        "ETL__LOAD",
        "ETL__NOTHING__X",
        "ETL__PIPELINE__DEAD_LETTERS",
    ),
)
_VALUES = (
    *("", "null", "[]", "{}", '{"name":"x"}', "[" * 3_000, "\udcff"),
    *('[{"regex":"\\ud800","target_label":"a"}]', '[{"name":"a","expr":"up","step":"15s"}]'),
)


class Config(Target):
    """Only :class:`ConfigError` comes out of loading; what loads can be used."""

    name = "config"
    weight = 70

    def __init__(self) -> None:
        # A file that ends with the process, however it ends.
        self._descriptor = os.memfd_create("etl.yaml")
        self._file = Path(f"/proc/self/fd/{self._descriptor}")

    def make(self, m: Mutator) -> tuple[bytes, dict[str, str]]:
        """The file, and the environment."""
        text = m.pick(_BASES)
        if m.chance(0.5):
            text = m.text(text, _TOKENS, rounds=m.below(4))
            content = text.encode("utf-8", "surrogatepass" if m.chance(0.02) else "replace")
        else:
            document = m.document(json.loads(_AS_JSON[text]), rounds=m.below(4))
            content = json.dumps(document, ensure_ascii=m.chance(0.5)).encode("utf-8", "replace")
        environ = {}
        while m.chance(0.15):
            name = m.pick(_VARIABLES)
            if m.chance(0.3):
                name = m.text(name, ("__", "ETL__", "LOAD"))
            environ[name] = m.pick((*_VALUES, m.word(), m.number_text()))
        return content, environ

    def check(self, case: Any) -> bool:
        """Loaded, printed, read back, and put to its first use."""
        content, environ = case
        self._write(content)
        try:
            settings = load_settings(self._file, environ)
        except ConfigError as error:
            require(bool(error.problems), "no problem is named")
            for problem in error.problems:
                require(bool(problem.strip()), "a problem without words")
                # Names of variables are shown whole, however long.
                require(bool(environ) or len(problem) < 2_000, "told too long", problem)
                require(len(problem.splitlines()) == 1, "told on several lines", problem)
            return False
        _use(settings)
        self._write(yaml.safe_dump(effective(settings, mask=False), allow_unicode=True).encode())
        require(load_settings(self._file, {}) == settings, "reads back as something else")
        return True

    def _write(self, content: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


def _use(settings: Settings) -> None:
    json.dumps(effective(settings)).encode()
    require(all(isinstance(sentence, str) for sentence in advice(settings)), "advice is no text")
    for plan in plans_of(settings):
        is_live = plan.live_ms >= plan.step_ms or plan.rollup is not None
        is_whole = plan.catchup_ms % plan.step_ms == 0 == plan.head_step_ms % plan.step_ms
        require(plan.step_ms > 0 and is_live and is_whole, "an impossible plan", plan)
        require(plan.head_ms(1_700_000_000_000) % plan.step_ms == 0, "a head off the grid", plan)
        reach_of(plan.query.text)
        plan.query.fingerprint("hot")
    stage_limits(settings.pipeline)
    SeriesEncoder.from_settings(settings).key(
        "select", "q", b'{"__name__":"up","job":"ax","a":"b"}'
    )


def _as_json() -> dict[str, str]:
    return {text: json.dumps(yaml.safe_load(text)) for text in _BASES}


_AS_JSON = _as_json()
