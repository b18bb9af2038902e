"""Feeds in a real Redis, seals in a real influxd, and the command on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
import yaml

from common.samples.seal import Digest
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.proven import Proven
from common.state.stream import RedisStream
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, Window, WindowSet
from etlctl.__main__ import main

Capture = pytest.CaptureFixture[str]

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
# 2026-01-30: two months in a few days.
START_MS = 1_769_731_200_000


@dataclass(frozen=True)
class Result:
    """What the command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    def feed(self, name: str = "raw@hot") -> dict[str, Any]:
        (found,) = [
            one for one in self.document["feeds"] if f"{one['query']}@{one['tier']}" == name
        ]
        assert isinstance(found, dict)
        return found

    def ranges(self, layer: str, name: str = "raw@hot") -> list[tuple[int, int]]:
        """A layer of a feed, in hours since the start."""
        return [
            ((one["from_ms"] - START_MS) // HOUR_MS, (one["to_ms"] - START_MS) // HOUR_MS)
            for one in self.feed(name)[layer]
        ]

    def rows(self) -> dict[str, str]:
        """The calendar, without its spaces, by label."""
        lines = [line.split() for line in self.out.splitlines() if line.startswith("  20")]
        return {label: "".join(cells) for label, *cells in lines}


@dataclass
class World:
    """One feed unless a test plans more."""

    client: redis.Redis
    redis_url: str
    sink_url: str
    database: str
    folder: Path
    capsys: Capture
    queries: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "raw", "select": '{job="app"}'}]
    )
    tiers: dict[str, Any] = field(default_factory=dict)
    sealed_ms: int = START_MS

    def __post_init__(self) -> None:
        self.keys = Keys(self.database)
        self.windows = WindowSet(self.client, self.keys, max_open=100)
        self.feed = Feed("raw", "hot", "select", "f")

    def plan(self, hours: int) -> None:
        """The feed's time goes so far."""
        assert self.windows.plan(self.feed, START_MS, START_MS + hours * HOUR_MS)

    def lease(self, hours: int) -> Window:
        """The newest window that is left."""
        window = self.windows.lease(self.feed, "catchup", 0, hours * HOUR_MS)
        assert window is not None
        return window

    def commit(self, window: Window, samples: int = 0) -> None:
        staged = [self.windows.stage(b"x", samples, 60)] if samples else []
        assert self.windows.commit(self.feed, window, staged) == "committed"

    def load(self, hours: int) -> None:
        """All of the next ``hours`` of its time are loaded, without samples."""
        self.plan(hours)
        # Windows end at multiples of their length, so that may be two.
        while window := self.windows.lease(self.feed, "catchup", 0, hours * HOUR_MS):
            self.commit(window)

    def refuse(self, times_ms: list[int]) -> None:
        """The newest entry's samples end as a dead letter with these times."""
        raw, points = self.stream(RAW), self.stream(POINTS)
        (entry,) = raw.read(1, 0.01)
        raw.settle(entry, Settle(outputs=[Output(b"y", len(times_ms))]), "transformer")
        (entry,) = points.read(1, 0.01)
        lines = "\n".join(f"m value=1 {time_ms}" for time_ms in times_ms).encode()
        letter = DeadLetter("rejected", "field type conflict", lines, len(times_ms))
        points.settle(entry, Settle(dead=[letter]), "loader")

    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.client, self.keys)

    def stream(self, name: str) -> RedisStream:
        found = RedisStream(
            self.client, self.keys, name, "c", outbound=POINTS if name == RAW else None
        )
        found.ensure()
        return found

    def prove(self, up_to_hours: int, *differing: tuple[int, int]) -> None:
        """The verifier has come so far, and found a point that differs in each range of hours."""
        proven = Proven(START_MS)
        for first, last in differing:
            bounds = START_MS + first * HOUR_MS, START_MS + last * HOUR_MS
            proven = proven.with_range(*bounds, 1, START_MS)
        up_to_ms = START_MS + up_to_hours * HOUR_MS
        proven = proven.with_range(START_MS, up_to_ms, 0, 0)
        self.client.hset(self.keys.verified, self.feed.name, proven.encode())

    def seal(
        self, first: float, last: float, *, digest: str = Digest().text, tags: str = ""
    ) -> None:
        """Seal a window of hours since the start; later seals are newer."""
        self.seal_windows([(first, last)], digest=digest, tags=tags)

    def seal_windows(
        self,
        windows: Iterable[tuple[float, float]],
        *,
        digest: str = Digest().text,
        tags: str = "",
        pipeline: str = "",
    ) -> None:
        """Several at once, of this pipeline or another."""
        lines = []
        for first, last in windows:
            self.sealed_ms += 1
            lines.append(
                f"etl_seal,pipeline={pipeline or self.database},query=raw,tier=hot{tags}"
                f' start_ms={round(START_MS + first * HOUR_MS)}i,points=0i,digest="{digest}",'
                f'sealed_ms={self.sealed_ms}i,window="w" {round(START_MS + last * HOUR_MS)}'
            )
        response = requests.post(
            f"{self.sink_url}/api/v2/write",
            params={"org": "o", "bucket": self.database, "precision": "ms"},
            data="\n".join(lines).encode(),
            timeout=20,
        )
        assert response.status_code == 204, response.text

    def run(self, *options: str) -> Result:
        """``etlctl coverage``."""
        document = {
            "extract": {"prometheus_url": "http://127.0.0.1:9", "queries": self.queries},
            "load": {
                "influxdb": {
                    "url": self.sink_url,
                    "token": "t",
                    "org": "o",
                    "bucket": self.database,
                },
                "tiers": self.tiers,
            },
            "pipeline": {"redis_url": self.redis_url, "redis_namespace": self.database},
        }
        file = self.folder / "etl.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["coverage", *options, "--config", str(file)])
        said = self.capsys.readouterr()
        code = caught.value.code
        return Result(code if isinstance(code, int) else 0, said.out, said.err)
