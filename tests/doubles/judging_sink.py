"""A sink for tests of isolation: it judges lines by their sets, and speaks as each version does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.loader.responses import Kind, Outcome

CUT_MS = 1_005_000  # within a shard
SHARD_MS = 10_000


@dataclass
class Points:
    """A sink that judges lines by their sets; ``message`` says how it speaks of refused ones."""

    bad: set[bytes] = field(default_factory=set)
    message: Callable[[list[bytes], list[bytes]], str] = lambda bad, lines: "no"
    atomic: bool = False  # as 2.x with unparsable lines: one bad line and nothing is written
    counts: bool = False
    old: Callable[[Sequence[bytes]], set[bytes]] = lambda lines: set()
    max_bytes: int | None = None
    broken: set[bytes] = field(default_factory=set)  # the server fails when it sees one
    written: set[bytes] = field(default_factory=set)
    posts: list[list[bytes]] = field(default_factory=list)

    def __call__(self, lines: Sequence[bytes]) -> Outcome:
        assert lines, "an empty post tells nothing"
        self.posts.append(list(lines))
        if self.broken.intersection(lines):
            return Outcome(Kind.FAILED, "boom", "server_error", 500)
        if self.max_bytes is not None and sum(len(line) + 1 for line in lines) > self.max_bytes:
            return Outcome(Kind.TOO_LARGE, "too large", "too_large", 413)
        old = self.old(lines)
        young = [line for line in lines if line not in old]
        bad = [line for line in young if line in self.bad]
        if bad:
            if not self.atomic:
                self.written.update(set(young) - self.bad)
            return Outcome(
                Kind.POINTS,
                self.message(bad, list(lines)),
                status=400,
                dropped=len(bad) if self.counts else None,
            )
        self.written.update(young)
        if old:
            dropped = len(old) if self.counts else None
            return Outcome(Kind.RETENTION, "too old", status=422, dropped=dropped)
        return Outcome(Kind.WRITTEN, "", status=204)


def names_all(bad: list[bytes], _: list[bytes]) -> str:
    return "\n".join(f"unable to parse '{line.decode()}': no" for line in bad)


def names_first(bad: list[bytes], _: list[bytes]) -> str:
    return f"unable to parse '{bad[0].decode()}': no"


def names_good(bad: list[bytes], lines: list[bytes]) -> str:
    good = [line for line in lines if line not in bad]
    return names_all(good[: len(good) // 2 + 1], lines)


def names_one_good(bad: list[bytes], lines: list[bytes]) -> str:
    return names_all([line for line in lines if line not in bad][:1], lines)


def names_everything(_: list[bytes], lines: list[bytes]) -> str:
    return names_all([*lines, b"and a stranger"], lines)


SINKS: dict[str, Callable[[set[bytes]], Points]] = {
    "2.x unparsable": lambda bad: Points(bad, message=names_all, atomic=True),
    "1.x unparsable": lambda bad: Points(bad, message=names_all),
    "2.x conflict": lambda bad: Points(bad, counts=True),
    "first named only": lambda bad: Points(bad, message=names_first),
    "says nothing": lambda bad: Points(bad, atomic=True),
    "names good lines": lambda bad: Points(bad, message=names_good, atomic=True),
}


def text_of(count: int) -> list[bytes]:
    return [b"m,n=%d value=%d %d" % (i % 3, i, CUT_MS + i) for i in range(count)]
