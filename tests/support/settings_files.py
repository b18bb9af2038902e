"""What the tests of the settings share: a file with only the keys that must be there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from common.config import Settings, load_settings
from common.errors import ConfigError

EXTRACT = "extract: {prometheus_url: 'http://prometheus:9090'}\n"
LOAD = "load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b}}\n"
MINIMAL = EXTRACT + LOAD

PLAIN: dict[str, Any] = {
    "extract": {"prometheus_url": "http://prometheus:9090"},
    "load": {"influxdb": {"url": "http://influxdb:8086", "org": "o", "bucket": "b"}},
}

# The keys that the first version of the pipeline had.
KEPT = """\
# Extract configuration
extract:
  prometheus_url: "http://localhost:9090"
  timeout: 30

# Transform configuration
transform:
  valid_metrics:
    - "up"
    - "http_requests_total"

# Load configuration
load:
  influxdb:
    url: "http://localhost:8086"
    token: "your-token"
    org: "monitoring"
    bucket: "health_metrics"

# Pipeline configuration
pipeline:
  interval_seconds: 300  # 5 minutes
  log_level: "INFO"
"""


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """A file with a secret in it, private to its owner unless ``mode`` says otherwise."""
    path = folder / "secret"
    path.touch(0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def load(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, **more: Any
) -> Settings:
    """Load ``text`` as etl.yaml, in an environment that has nothing but ``environ``."""
    file = folder / "etl.yaml"
    file.write_text(dedent(text))
    return load_settings(file, environ or {}, **more)


def problems(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, **more: Any
) -> list[str]:
    """What is wrong with ``text``, without the folder of the file."""
    try:
        load(folder, text, environ, **more)
    except ConfigError as error:
        return [line.replace(f"{folder}/", "") for line in error.problems]
    return []
