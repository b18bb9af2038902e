"""The loader against a sink that lies: what it settles as loaded was taken, every line once."""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from common.config.load import InfluxSettings, LoadSettings, Tier
from common.runtime.telemetry import Telemetry
from common.sink.addresses import Addresses
from common.state.verdict import Entry, Pause, Retry, Settle
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Broken, Target, require
from devtools.fuzz.targets.answers import WORDS, SinkAnswers
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from services.loader.responses import Kind, Outcome, classify
from services.transformer.line_protocol import gzip_member

_NOW_SECONDS = 1_700_000_000.0
_NOW_MS = 1_700_000_000_000
_RETENTION_SECONDS = 3600.0
# Lines of one entry are halved down to one: far more posts than that are a loop.
_MOST_POSTS = 2_000

# Entries as (lines, damage), bad lines by index, answers given before honest ones, the time from
# which on the sink keeps points, seed.
Answer = tuple[int, dict[str, str], bytes]
Case = tuple[list[tuple[list[bytes], int]], list[int], list[Answer], int, int]


class Loading(Target):
    """Any entries, any answers: a verdict for each that accounts for all of its samples."""

    name = "loading"
    weight = 70

    def make(self, m: Mutator) -> Case:
        """Entries; which of their lines are bad; a few answers of any kind at first."""
        entries, number = [], 0
        for _ in range(m.between(1, 4)):
            lines = []
            for _ in range(m.between(1, 12)):
                at_ms = _NOW_MS - (m.below(9) if m.chance(0.9) else 7_200_000)
                lines.append(b"m,n=%d value=%d %d" % (number, m.below(3), at_ms))
                number += 1
            entries.append((lines, m.below(8) if m.chance(0.15) else 7))
        bad = sorted({m.below(number) for _ in range(m.below(4))}) if m.chance(0.7) else []
        source = SinkAnswers()
        answers = [source.make(m) for _ in range(m.below(4))]
        if m.chance(0.3):
            words = m.pick(WORDS).encode()
            answers = [(m.pick((400, 422, 413, 500)), {}, b'{"error":"' + words + b'"}')] * 3
        keeps_from_ms = _NOW_MS - m.pick((4, 1_000, 10**9))
        return entries, bad, answers, keeps_from_ms, m.below(1 << 30)

    def check(self, case: Any) -> bool:
        """Handled twice, as after a retry: the second time the sink is honest."""
        given, bad, answers, keeps_from_ms, seed = case
        sink = _Sink(given, bad, answers, keeps_from_ms)
        handler = LoadHandler(
            _settings(),
            cast(InfluxSink, sink),
            _TELEMETRY,
            clock=sink.clock,
            wall_clock=lambda: _NOW_SECONDS,
            rng=random.Random(seed),
        )
        entries = [_entry(str(place), *entry) for place, entry in enumerate(given)]
        try:
            settled = 0
            for _ in range(2):
                verdicts = handler.handle(entries)
                require(len(verdicts) == len(entries), "other number of verdicts", verdicts)
                for entry, verdict in zip(entries, verdicts, strict=True):
                    if isinstance(verdict, Settle):
                        settled += 1
                        _check_settled(entry, verdict, sink)
                    else:
                        require(isinstance(verdict, Retry | Pause), "no verdict", verdict)
                    if isinstance(verdict, Retry):
                        require(0 <= verdict.after_seconds <= 300, "an impossible wait", verdict)
                sink.pass_(1_000.0)
                handler.check()
            return settled > 0
        finally:
            handler.close()


def _check_settled(entry: Entry, verdict: Settle, sink: _Sink) -> None:
    require(verdict.samples == entry.samples, "samples unaccounted for", verdict)
    if any(letter.reason == "corrupt" for letter in verdict.dead):
        require(len(verdict.dead) == 1 and verdict.loaded == 0, "a corrupt entry in parts")
        return
    lines = Counter(gzip.decompress(entry.payload).split(b"\n")[:-1])
    dead = Counter(line for letter in verdict.dead for line in letter.payload.split(b"\n")[:-1])
    require(dead <= lines, "a letter holds lines of others")
    taken = sum(n for line, n in lines.items() if line in sink.taken)
    if sum(lines.values()) == entry.samples:
        require(verdict.loaded <= taken, "loaded, but never taken", verdict.loaded, taken)
    if sink.honest:
        expired = sum(n for line, n in lines.items() if _ms(line) < sink.expires_ms)
        refused = sum(n for line, n in lines.items() if line in sink.bad)
        require(sum(dead.values()) <= refused, "good lines are dead letters")
        require(verdict.drops.get("beyond_retention", 0) <= expired, "young lines are too old")


class _Sink:
    """Refuses the bad lines in the words of an InfluxDB; before that it says what it was told."""

    retention_unknown: str | None = None

    def __init__(
        self,
        given: Sequence[tuple[list[bytes], int]],
        bad: Sequence[int],
        answers: Sequence[Answer],
        keeps_from_ms: int,
    ) -> None:
        lines = [line for some, _ in given for line in some]
        self.bad = {lines[index] for index in bad if index < len(lines)}
        self.addresses = Addresses(("http://sink",))
        self.taken: set[bytes] = set()
        self.honest = not answers
        self._keeps_from_ms = keeps_from_ms
        # The tier's retention is known to the loader, the sink's own may be shorter.
        self.expires_ms = max(keeps_from_ms, int((_NOW_SECONDS - _RETENTION_SECONDS) * 1000))
        self._answers = list(answers)
        self._posts = 0
        self._now = 1000.0

    def clock(self) -> float:
        return self._now

    def pass_(self, seconds: float) -> None:
        self._now += seconds

    def write(self, bucket: str, body: bytes) -> Outcome:
        self._posts += 1
        if self._posts > _MOST_POSTS:
            raise Broken("endless posts")
        try:
            lines = gzip.decompress(body).split(b"\n")[:-1]
        except (OSError, EOFError, zlib.error):
            return self._said(400, b'{"error":"unable to read data: gzip: invalid header"}')
        if self._answers:
            status, headers, words = self._answers.pop(0)
            outcome = classify(status, headers, words, now_seconds=_NOW_SECONDS)
        elif old := {line for line in lines if _ms(line) < self._keeps_from_ms}:
            words = b'{"error":"partial write: points beyond retention policy dropped=%d"}' % len(
                old
            )
            self.taken |= set(lines) - self.bad - old
            return self._said(400, words)
        elif refused := [line for line in lines if line in self.bad]:
            words = b'{"error":"partial write: field type conflict dropped=%d"}' % len(refused)
            self.taken |= set(lines) - self.bad
            return self._said(400, words)
        else:
            outcome = self._said(204, b"")
        if outcome.kind is Kind.WRITTEN:
            self.taken |= set(lines)
        return outcome

    def probe(self, bucket: str) -> Outcome:
        return self._said(204, b"")

    def silent_retention_seconds(self, bucket: str) -> float | None:
        """It says what is too old."""

    def close(self) -> None:
        """Nothing is open."""

    def _said(self, status: int, body: bytes) -> Outcome:
        return classify(status, {}, body, now_seconds=_NOW_SECONDS)


def _ms(line: bytes) -> int:
    return int(line.rsplit(b" ", 1)[1])


def _entry(id_: str, lines: list[bytes], damage: int) -> Entry:
    payload = gzip_member(iter([b"\n" + line for line in lines]), lines)
    samples = len(lines)
    if damage == 0:
        payload = payload[:-3]
    elif damage == 1:
        payload = payload[:20] + bytes((payload[20] ^ 0x55,)) + payload[21:]
    elif damage == 2:
        samples += 1
    elif damage == 3:
        payload = b""
    tier = "nowhere" if damage == 4 else "hot"
    return Entry(id_, 1, "q", tier, "select", "w1", samples, payload)


def _settings() -> LoadSettings:
    influxdb = InfluxSettings(url="http://127.0.0.1:1", org="o", bucket="b")
    return LoadSettings(
        influxdb=influxdb,
        tiers={"hot": Tier(bucket="b", retention=_RETENTION_SECONDS)},
        connections=1,
        group_samples=20,
    )


class _Silent:
    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: None


_TELEMETRY = Telemetry("loader", CollectorRegistry(), logger=_Silent())
