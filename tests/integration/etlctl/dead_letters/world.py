"""A feed whose entries end as dead letters, on a real Redis, and the command on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import redis
import yaml

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.dead_letters.kept import DeadLetters, KeptDeadLetter
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Account, Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet
from tests.support.secret_folders import Capture, run

LINE = "m,host=a\\ b value=1 1\n"
NOT_TEXT = b"\x00\xff\xfe raw \x1b[31m bytes" * 40
BATCH = SampleBatch(
    Origin("q", "select", "hot", "w7", 0, 60_000),
    Samples(
        (b'{"__name__":"up","job":"a"}', b'{"__name__":"up","job":"b"}'),
        np.array([1, 2], np.int64),
        np.array([15_000, 15_000, 30_000], np.int64),
        np.array([1.0, float("nan"), 2.5]),
    ),
)


@dataclass
class World:
    """A feed whose entries end as dead letters, and the command on it."""

    client: redis.Redis
    url: str
    folder: Path
    capsys: Capture
    keys: Keys = field(default_factory=lambda: Keys("etlctl"))
    planned_ms: int = 0
    sample: int = 0  # how many of one cause are kept; 0 = all
    cap: int = 100_000
    results: list[SettleResult] = field(default_factory=list)

    def refuse(self, letter: DeadLetter, stage: str = "loader", query: str = "q") -> None:
        """An entry of 10 samples more than ``letter`` has, of which the letter is refused."""
        feed = Feed(query, "hot", "select", "f")
        windows = WindowSet(self.client, self.keys)
        raw, points = self.stream(RAW), self.stream(POINTS)
        self.planned_ms += 1_000
        windows.plan(feed, 0, self.planned_ms)
        window = windows.lease(feed, "live", 10**9, 10**9)
        assert window is not None
        all_samples = letter.samples + 10
        windows.commit(feed, window, [windows.stage(b"raw", all_samples, 60)])
        (entry,) = raw.read(1, 0.01)
        if stage == "transformer":
            verdict = Settle(drops={"nan": 10}, dead=[letter])
            assert raw.settle(entry, verdict, stage) is SettleResult.OK
            return
        raw.settle(entry, Settle(outputs=[Output(b"x", all_samples)]), "transformer")
        (entry,) = points.read(1, 0.01)
        result = points.settle(entry, Settle(loaded=10, dead=[letter]), stage)
        self.results.append(result)
        if result is SettleResult.DEAD_FULL:
            points.release([entry.id], 3600)

    def refuse_lines(self, count: int = 1, reason: str = "rejected", query: str = "q") -> None:
        for _ in range(count):
            self.refuse(DeadLetter(reason, "field type conflict", LINE.encode(), 1), query=query)

    def stream(self, name: str) -> RedisStream:
        outbound = POINTS if name == RAW else None
        found = RedisStream(
            self.client,
            self.keys,
            name,
            "w",
            outbound=outbound,
            dead_letters_max_entries=self.cap,
            dead_letters_sample=self.sample,
        )
        found.ensure()
        return found

    @property
    def letters(self) -> list[KeptDeadLetter]:
        return list(DeadLetters(self.client, self.keys))

    def account(self, query: str = "q") -> Account:
        """The feed's ledger, after checking that the whole ledger balances."""
        audit = Ledger(self.client, self.keys).audit()
        assert audit.imbalance_samples == 0
        assert audit.lost_samples == 0
        return audit.accounts[f"{query}@hot"]

    def config(self) -> Path:
        file = self.folder / "etl.yaml"
        document = {
            "extract": {"prometheus_url": "http://127.0.0.1:9"},
            "load": {"influxdb": {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b"}},
            "pipeline": {"redis_url": self.url, "redis_namespace": self.keys.namespace},
        }
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return file

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of ``etlctl dead-letters …``."""
        return run(self.capsys, "dead-letters", *arguments, "--config", str(self.config()))

    def json(self, *arguments: str) -> Any:
        code, out, _ = self.run(*arguments, "--json")
        assert code == 0
        return json.loads(out)


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    assert line.startswith("etlctl: ")
    return line
