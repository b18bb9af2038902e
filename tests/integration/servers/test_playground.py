"""The playground is what the tutorial takes it for: a source, a sink, a Redis, and the alerts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from common.errors import StackError
from devtools.playground import PORTS, Playground
from devtools.servers.http import get_json
from devtools.servers.ports import free_port
from devtools.servers.waiting import wait_until


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    folder = tmp_path_factory.mktemp("playground") / "servers"
    playground = Playground(folder, {name: free_port() for name in PORTS})
    with ExitStack() as stack:
        playground.run(stack)
        yield playground


def ask(playground: Playground, path: str) -> Any:
    return get_json(f"http://127.0.0.1:{playground.ports['prometheus']}/api/v1/{path}")["data"]


def test_its_prometheus_has_scraped_and_evaluates_the_alerts(playground: Playground) -> None:
    groups = ask(playground, "rules")["groups"]
    assert {"etl-sink", "etl-watchdog"} <= {group["name"] for group in groups}
    wait_until(
        lambda: [a for a in ask(playground, "alerts")["alerts"] if a["state"] == "firing"],
        deadline_seconds=60,
        what="EtlWatchdog",
    )


def test_its_secrets_are_for_the_owner_alone(playground: Playground) -> None:
    for file in (playground.token_file, playground.password_file):
        assert file.stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_is_named(playground: Playground, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(StackError, match=r"port \d+, which \w+ needs"):
        Playground(tmp_path / "other", playground.ports).run(stack)
    assert not (tmp_path / "other").exists()
