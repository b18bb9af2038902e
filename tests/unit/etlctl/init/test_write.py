"""Where a configuration cannot be written, that is one sentence, and nothing else is touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ConfigError
from etlctl.init.proposal import propose
from etlctl.init.write import influx_settings, refuse_if_there, written
from tests.unit.etlctl.init.test_proposal import SINK, WHERE, facts


def test_what_is_no_file_is_refused_with_force_too(tmp_path: Path) -> None:
    there = tmp_path / "etl.yaml"
    os.mkfifo(there)
    with pytest.raises(ConfigError, match="no regular file: --config names another"):
        refuse_if_there(there, force=True)


def test_a_folder_that_takes_no_files() -> None:
    """/proc takes none from root either."""
    found = facts()
    with pytest.raises(ConfigError, match="/proc: cannot be written to"):
        written(Path("/proc/etl.yaml"), WHERE, found, SINK, propose(found, ()), force=False)


def test_the_option_is_named_and_not_a_key(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("tök\n", encoding="utf-8")
    unusable = replace(WHERE, influxdb_token_file=str(token))
    with pytest.raises(ConfigError, match=r"^--influxdb-token-file: names .* which has characters"):
        influx_settings(unusable)
    with pytest.raises(ConfigError, match=r"^--bucket: .*at least 1 character"):
        influx_settings(replace(WHERE, bucket=""))
