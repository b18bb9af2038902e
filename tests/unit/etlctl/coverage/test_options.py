"""What ``etlctl coverage`` refuses, before it asks any server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.secret_folders import Capture, run
from tests.support.settings_files import MINIMAL

# Nothing listens there: whoever asked would say so.
SERVERS = "pipeline: {redis_url: 'redis://127.0.0.1:1/0'}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--query", "nosuch"], "--query nosuch: no such query; there are "),
        (["--tier", "icy"], "--tier icy: no such tier; there are hot"),
        (["--from", "yesterday"], "--from: 'yesterday' is not a time"),
        (["--from", "2024-05-01", "--to", "now"], "--from: '2024-05-01' names no time zone"),
        (["--from", "-1h", "--to", "-2h"], "nothing lies between "),
        (["--from", "now"], "nothing lies between "),
        (["--from", "2999-01-01T00:00:00Z"], "--from: 2999-01-01T00:00:00Z lies in the future"),
        (["--to", "2999-01-01T00:00:00Z"], "--to: 2999-01-01T00:00:00Z lies in the future"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: Capture, options: list[str], said: str, as_json: bool
) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(MINIMAL + SERVERS, encoding="utf-8")
    json_option = ["--json"] if as_json else []
    code, _, err = run(capsys, "coverage", "--config", str(file), *options, *json_option)
    assert code == 2
    assert err.startswith(f"etlctl: {said}")
    assert len(err.splitlines()) == 1


def test_redis_away_cannot_tell(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(MINIMAL + SERVERS, encoding="utf-8")
    code, out, err = run(capsys, "coverage", "--config", str(file))
    assert (code, out) == (2, "")
    assert err.startswith("etlctl: Redis cannot be reached")
    assert len(err.splitlines()) == 1
