"""The pieces of etl.yaml that pages show are valid, laid over the least that is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import load_settings
from common.config.model import Settings
from tests.unit.docs.pages import PAGES, text_of

LEAST: dict[str, Any] = {
    "extract": {"prometheus_url": "http://localhost:9090"},
    "load": {"influxdb": {"url": "http://localhost:8086", "org": "o", "bucket": "b"}},
}


def examples() -> Iterator[tuple[str, int, str]]:
    """Page, number and text; other files (a compose file, a transform case) have other keys."""
    for page in PAGES:
        blocks = re.findall(r"^```yaml\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            read = yaml.safe_load(block)
            if isinstance(read, dict) and read.keys() <= Settings.model_fields.keys():
                yield page.name, number, block


EXAMPLES = tuple(examples())


def laid_over(least: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """``more`` key by key over ``least``."""
    merged = dict(least)
    for key, value in more.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged


@pytest.mark.parametrize(("page", "number", "block"), EXAMPLES)
def test_example_is_a_valid_configuration(
    page: str, number: int, block: str, tmp_path: Path
) -> None:
    path = tmp_path / "etl.yaml"
    merged = laid_over(LEAST, yaml.safe_load(block))
    if merged["extract"].keys() & {"sources", "replicas"}:
        del merged["extract"]["prometheus_url"]
    path.write_text(yaml.safe_dump(merged))
    load_settings(path, environ={}, secrets=())


def test_the_readme_has_examples() -> None:
    assert sum(page == "README.md" for page, _, _ in EXAMPLES) >= 2
