"""What a look at the append-only file tells of Redis itself."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.runtime.telemetry import Telemetry
from services.extractor.aof import AofHealer


class Informing:
    """A Redis that responds to INFO, and to nothing else."""

    def __init__(self, info: dict[str, Any] | None) -> None:
        self._info = info

    def info(self, *_sections: str) -> dict[str, Any]:
        if self._info is None:
            raise RedisConnectionError("no route")
        return self._info


def answers_of(info: dict[str, Any] | None) -> int:
    answers: list[int] = []
    telemetry = Telemetry("extractor", CollectorRegistry())
    redis = cast(Redis, Informing(info))
    healer = AofHealer(redis, telemetry, answered=lambda: answers.append(1))
    if info is None:
        with pytest.raises(RedisConnectionError):
            healer.check()
    else:
        assert not healer.check()
    return len(answers)


def test_a_redis_that_responds_has_served_the_process() -> None:
    assert answers_of({"loading": 0, "aof_enabled": 0}) == 1


def test_one_that_still_loads_its_data_or_is_away_has_not() -> None:
    assert answers_of({"loading": 1, "aof_enabled": 0}) == 0
    assert answers_of(None) == 0
