"""What etl-metrics and the simulator load: memory is what they may use least of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools import PROJECT_ROOT

ROOT = PROJECT_ROOT
HEAVY = {
    *("pydantic", "pydantic_core", "pydantic_settings", "structlog", "yaml", "msgspec", "rq"),
    *("numpy", "polars", "requests", "urllib3", "influxdb_client", "rich", "typer"),
}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        # Without a Redis to read, not even its client.
        ("services.exporter.__main__", HEAVY | {"redis", "asyncio"}),
        ("services.exporter.redis_source", HEAVY),
        ("services.simulator.__main__", HEAVY | {"redis", "asyncio"}),
    ],
)
def test_nothing_heavy_is_imported(module: str, heavy: set[str]) -> None:
    program = f"import sys, {module}; print(*({heavy!r} & sys.modules.keys()))"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
