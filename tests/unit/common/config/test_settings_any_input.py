"""Whatever is written ends in settings or in clear lines."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.config import load_settings
from common.errors import ConfigError
from tests.support.settings_files import MINIMAL, problems

# --- whatever is written ---------------------------------------------------------------------

KEYS = sorted(
    {"extract", "load", "pipeline", "transform", "queries", "influxdb", "name", "expr", "select"}
    | {"step", "url", "token", "token_file", "relabel", "regex", "action", "tiers", "hot", "auth"}
    | {"prometheus_url", "org", "bucket", "low_water_bytes", "valid_metrics", "aggregates"}
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["up", "http://h", "{a='b'}", "15s", "hot", "keep", "", "a(", "labeldrop"]),
    st.text(max_size=8),
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
relaxed = settings(
    max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def only_config_errors(folder: Path, text: str, environ: dict[str, str]) -> None:
    file = folder / "etl.yaml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    found: tuple[str, ...] | None = None
    try:
        load_settings(file, environ)
    except ConfigError as error:
        found = error.problems
    assert found is None or found
    assert all(len(line.encode().splitlines()) == 1 for line in found or ())


@relaxed
@given(tree=trees)
def test_any_tree_ends_in_settings_or_clear_lines(tmp_path: Path, tree: object) -> None:
    only_config_errors(tmp_path, yaml.safe_dump(tree), {})


@relaxed
@given(text=st.text(alphabet="{}[]:,-&*!|>'\"#%@`? \n\tab<1\\", max_size=60))
def test_any_text_ends_in_settings_or_clear_lines(tmp_path: Path, text: str) -> None:
    only_config_errors(tmp_path, text, {})


@relaxed
@given(
    environ=st.dictionaries(
        st.lists(st.sampled_from([*KEYS, "", "0"]), min_size=1, max_size=4).map(
            lambda parts: "ETL__" + "__".join(parts).upper()
        ),
        st.text(st.characters(exclude_characters="\0"), max_size=12)
        | st.sampled_from(["{}", "[]", "null", '{"a": 1}', '[{"name": "x"}]', "1", "true", "[1"]),
        max_size=4,
    )
)
def test_any_environment_ends_in_settings_or_clear_lines(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    only_config_errors(tmp_path, MINIMAL, environ)


def test_the_file_of_this_process_is_left_alone(tmp_path: Path) -> None:
    before = dict(os.environ)
    problems(tmp_path, MINIMAL, {"ETL__PIPELINE__HTTP_PORT": "1"})
    assert dict(os.environ) == before
