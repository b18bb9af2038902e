"""From a refused post down to the lines that are to blame.

Halving over the lines of a post, down to the single line: k bad lines of n cost O(k log n) posts.
The sink's own words make it cheaper (they name lines, count the dropped, speak of age) but are
never believed alone: what they say is posted again and must be borne out.

Sending again what was written is harmless: the same series and timestamp overwrite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil, inf, log2

from common.state.verdict import Pause, Retry
from services.loader.lines import timestamp_ms
from services.loader.responses import Kind, Outcome

# How often a part may be cut where the sink's count says before it is simply halved.
_COUNTS_BELIEVED = 3

_MEASUREMENT = re.compile(r'input field ".*?" on measurement "(.*)" is ')
_QUOTE = "unable to parse '"
_QUOTE_END = "': "


class Refusal(IntEnum):
    """What became of a line."""

    OPEN = 0
    WRITTEN = 1
    EXPIRED = 2  # older than the sink keeps
    REJECTED = 3  # refused alone
    TOO_LARGE = 4  # too large alone
    FAILED = 5  # the server fails at it, and at nothing else


BAD = frozenset({Refusal.REJECTED, Refusal.TOO_LARGE, Refusal.FAILED})


class Interrupted(Exception):
    """Nothing more can be posted now; ``verdict`` is for whatever is still open."""

    def __init__(self, verdict: Retry | Pause) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(slots=True)
class Lines:
    """Lines and what is known of each.

    ``words`` are the sink's about those it refused. ``parts`` is how far an interrupted search had
    cut what is open; without it, what is open is one part.
    """

    text: list[bytes]
    fate: bytearray = field(default_factory=bytearray)
    words: dict[int, str] = field(default_factory=dict)
    parts: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.fate:
            self.fate = bytearray(len(self.text))

    @classmethod
    def joined(cls, parts: Iterable[Lines]) -> Lines:
        """All lines of several, one after the other."""
        whole = cls([])
        for part in parts:
            start = len(whole.text)
            whole.text += part.text
            whole.fate += part.fate
            whole.words.update({start + index: said for index, said in part.words.items()})
            whole.parts += [[start + index for index in cut] for cut in part.parts]
        return whole

    def split(self, sizes: Iterable[int]) -> list[Lines]:
        """The reverse of :meth:`joined`: what is known now, for so many lines each."""
        found, start = [], 0
        for size in sizes:
            end = start + size
            words = {i - start: said for i, said in self.words.items() if start <= i < end}
            cuts = ([i - start for i in cut if start <= i < end] for cut in self.parts)
            parts = [cut for cut in cuts if cut]
            found.append(Lines(self.text[start:end], self.fate[start:end], words, parts))
            start = end
        return found

    @property
    def open(self) -> list[int]:
        """Indices of the lines whose fate is not known."""
        return [index for index, fate in enumerate(self.fate) if fate == Refusal.OPEN]


@dataclass(frozen=True, slots=True)
class _Part:
    lines: list[int]
    outcome: Outcome | None = None  # of having posted exactly these lines, if that was done
    named: bool = False  # the sink's words blamed these
    cuts: int = 0  # how often its forebears were cut where the sink's count said


class Isolation:
    """One search. ``post`` posts lines and returns the outcome, or raises :class:`Interrupted`.

    ``bad`` is told how many lines were just found bad, and may raise :class:`Interrupted` to say
    that there are too many. With ``give_up``, a post that fails at the server is halved like one
    that is refused. If nothing at all is taken it may be the sink that is down after all:
    ``give_up(outcome)`` is the exception to raise, or None if the lines are to blame all the same.
    """

    def __init__(
        self,
        lines: Lines,
        post: Callable[[Sequence[bytes]], Outcome],
        *,
        bad: Callable[[int], None] = lambda _: None,
        give_up: Callable[[Outcome], Interrupted | None] | None = None,
    ) -> None:
        self._lines = lines
        self._send = post
        self._bad = bad
        self._give_up = give_up
        self._parts: list[_Part] = []
        self._names_hold = True
        self._taken = False
        self._failures = 0
        self._failures_max = 0
        self._suspects: list[int] = []

    def run(self, outcome: Outcome | None = None) -> None:
        """Find the fate of every open line.

        ``outcome`` is that of having posted all of them together, if that was done. What is known
        when :class:`Interrupted` is raised stays known.
        """
        open_ = self._lines.open
        if not open_:
            return
        self._failures_max = ceil(log2(len(open_))) + 3 if len(open_) > 1 else 1
        known = {index for part in self._lines.parts for index in part}
        rest = [index for index in open_ if index not in known]
        self._parts = [_Part(part) for part in self._lines.parts]
        self._parts += [_Part(rest, outcome)] if rest else []
        try:
            while self._parts:
                part = self._parts.pop()
                self._judge(part, part.outcome or self._post(part.lines))
            self._judge_suspects()
        finally:
            # What is open and in none of them is the part in hand: the next run's first.
            self._lines.parts = [part.lines for part in self._parts]

    def _post(self, lines: Sequence[int]) -> Outcome:
        return self._send([self._lines.text[index] for index in lines])

    def _judge(self, part: _Part, outcome: Outcome) -> None:
        if outcome.kind is not Kind.FAILED:
            self._failures = 0
        match outcome.kind:
            case Kind.WRITTEN:
                self._taken = True
                self._names_hold &= not part.named
                self._decide(part.lines, Refusal.WRITTEN)
            case Kind.POINTS:
                self._refused(part, outcome)
            case Kind.RETENTION:
                self._expired(part, outcome)
            case Kind.TOO_LARGE:
                self._one_or_halves(part, Refusal.TOO_LARGE, outcome)
            case Kind.FAILED:
                self._failed(part, outcome)
            case _:
                raise AssertionError(f"{outcome.kind} says nothing about lines")

    def _decide(self, lines: Sequence[int], fate: Refusal, words: str = "") -> None:
        for index in lines:
            self._lines.fate[index] = fate
        if fate in BAD:
            self._lines.words.update(dict.fromkeys(lines, words))
            self._bad(len(lines))

    def _one_or_halves(self, part: _Part, fate: Refusal, outcome: Outcome) -> None:
        if len(part.lines) == 1:
            self._decide(part.lines, fate, outcome.words)
        else:
            self._halve(part.lines)

    def _halve(self, lines: Sequence[int], cuts: int = 0) -> None:
        still = [index for index in lines if self._lines.fate[index] == Refusal.OPEN]
        middle = (len(still) + 1) // 2
        # The stack gives the first half first.
        for half in (still[middle:], still[:middle]):
            if half:
                self._parts.append(_Part(half, cuts=cuts))

    # -- refused points -------------------------------------------------------------------

    def _refused(self, part: _Part, outcome: Outcome) -> None:
        if len(part.lines) == 1:
            self._decide(part.lines, Refusal.REJECTED, outcome.words)
            return
        words = quoted_lines(outcome.words)
        named = [i for i in part.lines if _as_told(self._lines.text[i]) in words]
        if len(named) == len(part.lines) or outcome.dropped == len(part.lines):
            if self._refused_alone(part.lines[0]) and self._refused_alone(part.lines[-1]):
                self._reject_all(part.lines[1:-1], outcome, words)
            else:
                self._halve(part.lines)
            return
        guilty = named or self._of_measurement(part, outcome.words)
        if self._names_hold and 0 < len(guilty) < len(part.lines):
            rest = set(part.lines).difference(guilty)
            self._parts.append(_Part([i for i in part.lines if i in rest]))
            # Tried first: if they are taken, the sink's words are of no use for the rest.
            self._parts.append(_Part(guilty, named=True))
        else:
            self._halve(part.lines)

    def _of_measurement(self, part: _Part, words: str) -> list[int]:
        """The lines of the measurement that the sink's words name, if they name one."""
        found = _MEASUREMENT.search(words)
        if found is None:
            return []
        name = found[1].encode().replace(b",", b"\\,").replace(b" ", b"\\ ")
        begins = (name + b",", name + b" ")
        return [i for i in part.lines if self._lines.text[i].startswith(begins)]

    def _refused_alone(self, index: int) -> bool:
        """Whether the sink refuses this line by itself; its answer decides the line's fate."""
        if self._lines.fate[index] == Refusal.OPEN:
            self._judge(_Part([index]), self._post([index]))
        return self._lines.fate[index] == Refusal.REJECTED

    def _reject_all(self, lines: Sequence[int], outcome: Outcome, words: dict[str, str]) -> None:
        if not lines:
            return
        self._decide(lines, Refusal.REJECTED, outcome.words)
        for index in lines:
            own = words.get(_as_told(self._lines.text[index]))
            if own is not None:
                self._lines.words[index] = own

    # -- points beyond the sink's retention -----------------------------------------------

    def _expired(self, part: _Part, outcome: Outcome) -> None:
        """What is refused for its age is cut by age.

        The sink drops the oldest, so its count says where to cut. A line may be refused alone that
        passes among newer ones (the sink keeps time in shards), therefore lines are tried together.
        """
        if len(part.lines) == 1:
            self._decide(part.lines, Refusal.EXPIRED)
            return
        order = sorted(part.lines, key=self._age_key)
        dropped = outcome.dropped or 0
        if dropped == len(order):
            # If the newest of them is too old, all are.
            newest = order[-1]
            self._judge(_Part([newest]), self._post([newest]))
            if self._lines.fate[newest] == Refusal.EXPIRED:
                self._decide(order[:-1], Refusal.EXPIRED)
            else:
                self._halve(order, part.cuts + 1)
        elif 0 < dropped < len(order) and part.cuts < _COUNTS_BELIEVED:
            self._parts.append(_Part(order[:dropped], cuts=part.cuts + 1))
            self._parts.append(_Part(order[dropped:], cuts=part.cuts + 1))
        else:
            self._halve(order, part.cuts + 1)

    def _age_key(self, index: int) -> float:
        stamp = timestamp_ms(self._lines.text[index])
        return inf if stamp is None else stamp

    # -- lines the server fails at --------------------------------------------------------

    def _failed(self, part: _Part, outcome: Outcome) -> None:
        self._failures += 1
        if self._failures > self._failures_max:
            self._suspects += part.lines
            self._blame_all(outcome)
        elif len(part.lines) == 1:
            # Not blamed before the sink was seen to take something.
            self._suspects += part.lines
        else:
            self._halve(part.lines)

    def _judge_suspects(self) -> None:
        while self._suspects:
            index = self._suspects.pop()
            outcome = self._post([index])
            if outcome.kind is not Kind.FAILED:
                self._judge(_Part([index]), outcome)
            elif self._taken:
                self._decide([index], Refusal.FAILED, outcome.words)
            else:
                self._suspects.append(index)
                self._blame_all(outcome)

    def _blame_all(self, outcome: Outcome) -> None:
        """Nothing is taken: give up, or blame every line that is still open."""
        if self._give_up is None:
            raise AssertionError("a failed post is the caller's business")
        if (interrupted := self._give_up(outcome)) is not None:
            raise interrupted
        self._parts.clear()
        self._suspects.clear()
        self._decide(self._lines.open, Refusal.FAILED, outcome.words)


def quoted_lines(words: str) -> dict[str, str]:
    """The lines that the sink's words quote as unparsable, each with the words about it.

    Form: ``unable to parse '<line>': <why>``, one for each bad line, joined by line breaks.
    """
    found = {}
    for one in words.split("\n"):
        begin, end = one.find(_QUOTE), one.rfind(_QUOTE_END)
        if 0 <= begin < end:
            found[one[begin + len(_QUOTE) : end]] = one[begin:]
    return found


def _as_told(line: bytes) -> str:
    """A line as JSON can hold it: what is not UTF-8 comes back as replacement characters."""
    return line.decode("utf-8", "replace")
