"""``etlctl tap``: decoded samples as they flow, without consuming them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import typer
from redis.exceptions import RedisError

from common.config import Settings, load_settings
from common.errors import ConfigError, WireError
from common.state.keys import POINTS, RAW
from etlctl.connect import redis_of
from etlctl.dead_letters.payloads import printable
from etlctl.failures import message_of
from etlctl.options import ConfigFile
from etlctl.output import is_printable, printed, remark, thousands
from etlctl.tap.decoded import Decoded, decoded
from etlctl.tap.flow import Flow, Tapped
from etlctl.times import Clock

_AGAIN_SECONDS = 1.0
# Remarks about what was missed are no more frequent than that.
_REMARK_SECONDS = 5.0


class Stream(StrEnum):
    """Which of the streams."""

    raw = RAW
    points = POINTS


Which = Annotated[
    Stream,
    typer.Argument(
        metavar="STREAM", help="raw: samples before the transform; points: line protocol after it."
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--query", metavar="NAME", help="Show only this query; can be given several times."
    ),
]
Count = Annotated[
    int | None, typer.Option("--count", metavar="SAMPLES", min=1, help="End after so many.")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print each sample as one JSON object a line.")
]


def tap(
    stream: Which,
    query: Names = None,
    count: Count = None,
    as_json: JsonLines = False,
    config: ConfigFile = None,
) -> None:
    """Show samples or points as they flow; consume nothing.

    Nothing of the pipeline changes. What is settled before it could be read is missed, and said.
    Ends with 0 on Ctrl-C.
    """
    settings = load_settings(config, secrets=("pipeline",))
    chosen = _chosen(settings, query or ())
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        flow = Flow(redis, keys, stream)
        tapped = Tap(flow, stream, chosen, _as_json if as_json else _as_text, count)
        try:
            tapped.run()
        except KeyboardInterrupt:
            pass
        finally:
            remark(tapped.summary())


@dataclass
class Tap:
    """Prints what flows, until ``left`` samples were printed or nobody reads any more."""

    flow: Flow
    stream: str
    queries: Sequence[str]
    text_of: Callable[[Decoded], str]
    left: int | None = None
    clock: Clock = field(default_factory=Clock)
    samples: int = field(default=0, init=False)
    entries: int = field(default=0, init=False)
    _said: tuple[float, int] = field(default=(-_REMARK_SECONDS, 0), init=False)
    _is_away: bool = field(default=False, init=False)

    def run(self) -> None:
        """Until that is so. A Redis that goes away is said and waited for."""
        while self.left != 0 and not printed.reader_gone:
            try:
                found = self.flow.read()
            except RedisError as error:
                if not self._is_away:
                    remark(f"{message_of(error)}; waiting for it")
                self._is_away = True
                self.clock.sleep(_AGAIN_SECONDS)
                continue
            self._is_away = False
            for entry in found:
                if not self.queries or entry.query in self.queries:
                    self._show(entry)
            self._say_missed()

    def summary(self) -> str:
        """What was shown and what was not."""
        return (
            f"Shown: {thousands(self.samples)} samples of {thousands(self.entries)} entries;"
            f" missed, of all queries: {thousands(self.flow.missed)} entries."
        )

    def _show(self, entry: Tapped) -> None:
        try:
            found = decoded(self.stream, entry)
            self.entries += 1
            for one in found:
                if self.left == 0 or printed.reader_gone:
                    break
                print(self.text_of(one))
                self.samples += 1
                if self.left is not None:
                    self.left -= 1
        except WireError as error:
            feed = printable(f"{entry.query}@{entry.tier}")
            remark(f"entry {entry.id} of {feed} cannot be decoded: {error}")
        sys.stdout.flush()

    def _say_missed(self) -> None:
        missed, now = self.flow.missed, self.clock.monotonic()
        said_at, said = self._said
        if missed > said and now - said_at >= _REMARK_SECONDS:
            self._said = now, missed
            remark(f"{thousands(missed)} entries were settled before they could be read")


def _chosen(settings: Settings, names: Sequence[str]) -> Sequence[str]:
    known = {one.name for one in settings.extract.queries}
    if unknown := sorted(set(names) - known):
        there_are = ", ".join(sorted(known))
        raise ConfigError(f"--query {', '.join(unknown)}: no such query; there are {there_are}")
    return names


def _as_text(one: Decoded) -> str:
    return one.line


def _as_json(one: Decoded) -> str:
    text = json.dumps(one.members, ensure_ascii=False)
    return text if is_printable(text) else json.dumps(one.members)
