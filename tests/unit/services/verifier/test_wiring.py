"""A comparison is possible without Redis, whenever that goes away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError

from common.config import Settings
from services.verifier import wiring
from services.verifier.knowledge import Knowledge
from tests.support.settings_files import PLAIN

NOW_MS = 1_700_000_000_000


class GoesAway(Redis):
    """It answers a number of commands, and then no more."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers = answers

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.answers -= 1
        if self.answers < 0:
            raise RedisGone("Connection closed by server.")
        return {}


def server(**functions: Any) -> Any:
    return SimpleNamespace(close=lambda: None, **functions)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    source = server(now_ms=lambda: NOW_MS)
    sink = server(silent_retention_seconds=lambda: None)
    monkeypatch.setattr(wiring, "source_of", lambda *_: source)
    monkeypatch.setattr(wiring, "sink_of", lambda *_: sink)
    return Settings.model_validate(PLAIN)


@pytest.mark.parametrize("answers", [0, 1])
def test_what_is_not_known_of_a_redis_that_goes_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    monkeypatch.setattr(wiring, "connect_as_set", lambda _: GoesAway(answers))
    told: list[RedisError] = []
    with wiring.connected(settings, (), told.append) as parts:
        assert type(parts.knowledge) is Knowledge
        assert (parts.history, parts.notes) == ({}, ())
        assert parts.read_from.ask(["q"]) == set()
    assert [str(error) for error in told] == ["Connection closed by server."]
    with pytest.raises(RedisGone), wiring.connected(settings, (), None):
        pass
