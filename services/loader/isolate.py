"""From a refused post down to the lines that are to blame.

Halving over the lines of a post, down to the single line: k bad lines of n cost O(k log n) posts.
The sink's own message makes it cheaper (it names lines, counts the dropped, speaks of age) but is
never believed alone: what it says is posted again and must be borne out.

A line that is refused without a cause is doubted until the sink takes something again. Was the time
since it took something before short enough, the line is to blame; else it is judged anew.

Sending again what was written is harmless: the same series and timestamp overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, log2

from common.state.verdict import Retry
from services.loader.admission import NotNow
from services.loader.lines import BAD, Lines, LineStatus
from services.loader.messages import named, quoted_lines
from services.loader.payload import timestamp_ms
from services.loader.responses import Kind, Outcome, RefusedLine
from services.loader.total_refusal import JUDGES, TotalRefusal

# How often a part may be cut where the sink's count says before it is simply halved.
_COUNTS_BELIEVED = 3

# A sink that refuses everything for longer makes no line look bad. Where posts take long, it is so
# many times as long as the longest of a search.
MOMENT_SECONDS = 1.0
_MOMENT_POSTS = 4

# What becomes of lines that are refused alone, by what the sink says of them.
_REFUSALS = {
    Kind.POINTS: LineStatus.REJECTED,
    Kind.OUTSIDE_WINDOW: LineStatus.OUTSIDE_WINDOW,
    Kind.LIMIT: LineStatus.LIMITED,
}

# The search as a generator: it yields the lines to post, and gets the outcome of that.
_Search = Generator[Sequence[int], Outcome, None]


@dataclass(frozen=True, slots=True)
class _Part:
    lines: list[int]
    outcome: Outcome | None = None  # of having posted exactly these lines, if that was done
    named: bool = False  # the sink's message blamed these
    cuts: int = 0  # how often its forebears were cut where the sink's count said


@dataclass
class Isolation:
    """One search.

    ``post`` posts lines and returns the outcome, or why nothing can be posted now. ``bad`` takes
    the number of lines just found bad, and may return a verdict that ends the search.

    With ``evidence``, ``post`` is also asked for no lines: then it posts the control, and returns
    an outcome only if the sink judged that.

    With ``give_up``, a post that fails at the server is halved like one that is refused. If nothing
    at all is taken, it may be the sink that is down after all: ``give_up`` returns the verdict that
    ends the search, or None if the lines are to blame all the same.
    """

    lines: Lines
    post: Callable[[Sequence[bytes]], Outcome | NotNow]
    bad: Callable[[int], NotNow | None] = lambda _: None
    give_up: Callable[[], NotNow | None] | None = None
    evidence: TotalRefusal | None = None
    posts: int = field(default=0, init=False)
    _ended: NotNow | None = field(default=None, init=False)
    _parts: list[_Part] = field(default_factory=list, init=False)
    _names_are_right: bool = field(default=True, init=False)
    _taken: bool = field(default=False, init=False)
    _failures: int = field(default=0, init=False)
    _failures_max: int = field(default=0, init=False)
    _suspects: list[int] = field(default_factory=list, init=False)
    # Refused without a cause since the sink judged something last; that began at `_since_seconds`.
    _doubted: list[int] = field(default_factory=list, init=False)
    _since_seconds: float = field(default=-inf, init=False)
    _opaque: bool = field(default=False, init=False)
    _judged_at_seconds: float = field(default=-inf, init=False)  # before the post in hand
    _longest_seconds: float = field(default=0.0, init=False)

    def run(self, outcome: Outcome | None = None) -> NotNow | None:
        """Find out what becomes of every open line; a verdict if the search ended before.

        ``outcome`` is that of having posted all of them together, if that was done. What is known
        when the search ends stays known.
        """
        search = self._search(outcome)
        try:
            lines = next(search)
            while self._ended is None:
                result = self._post(lines)
                if isinstance(result, Outcome):
                    lines = search.send(result)
                else:
                    self._ended = result
        except StopIteration:
            pass
        if self._doubted and isinstance(self._ended, Retry) and isinstance(self._post([]), Outcome):
            self._judged()
        self._reopen()
        # What is open and in none of them is the part in hand: the next run's first.
        self.lines.parts = [part.lines for part in self._parts]
        return self._ended

    def _post(self, lines: Sequence[int]) -> Outcome | NotNow:
        evidence = self.evidence
        if evidence is not None:
            self._judged_at_seconds = evidence.judged_at_seconds
            began_seconds = evidence.now_seconds
        result = self.post([self.lines.text[index] for index in lines])
        self.posts += 1
        if evidence is not None:
            self._longest_seconds = max(self._longest_seconds, evidence.now_seconds - began_seconds)
        return result

    def _search(self, outcome: Outcome | None) -> _Search:
        open_ = self.lines.open
        self._failures_max = ceil(log2(len(open_))) + 3 if len(open_) > 1 else 1
        known = {index for part in self.lines.parts for index in part}
        rest = [index for index in open_ if index not in known]
        self._parts = [_Part(part) for part in self.lines.parts]
        self._parts += [_Part(rest, outcome)] if rest else []
        while self._ended is None:
            if self._is_control_due():
                yield []
                self._judged()
            elif self._parts:
                part = self._parts.pop()
                yield from self._judge(part, part.outcome or (yield part.lines))
            elif self._suspects:
                yield from self._judge_suspects()
            else:
                return

    def _judge(self, part: _Part, outcome: Outcome) -> _Search:
        if outcome.kind is not Kind.FAILED:
            self._failures = 0
        if outcome.kind in JUDGES:
            self._judged()
        self._opaque |= outcome.is_opaque
        match outcome.kind:
            case Kind.WRITTEN:
                self._taken = True
                self._names_are_right &= not part.named
                self._decide(part.lines, LineStatus.WRITTEN)
            case Kind.POINTS | Kind.OUTSIDE_WINDOW | Kind.LIMIT:
                yield from self._refused(part, outcome)
            case Kind.RETENTION:
                yield from self._expired(part, outcome)
            case Kind.TOO_LARGE if len(part.lines) == 1:
                self._decide(part.lines, LineStatus.TOO_LARGE, outcome.message, opaque=True)
            case Kind.TOO_LARGE:
                self._halve(part.lines)
            case Kind.FAILED:
                self._failed(part, outcome)
            case _:
                raise AssertionError(f"{outcome.kind} says nothing about lines")

    def _decide(
        self, lines: Sequence[int], status: LineStatus, message: str = "", *, opaque: bool = False
    ) -> None:
        for index in lines:
            self.lines.status[index] = status
        if status is not LineStatus.WRITTEN:
            self.lines.messages |= dict.fromkeys(lines, message)
        if opaque and self.evidence is not None:
            if not self._doubted:
                self._since_seconds = self._judged_at_seconds
            self._doubted += lines
        elif status in BAD:
            self._ended = self.bad(len(lines)) or self._ended

    def _halve(self, lines: Sequence[int], cuts: int = 0) -> None:
        still = [index for index in lines if self.lines.status[index] == LineStatus.OPEN]
        middle = (len(still) + 1) // 2
        # The stack gives the first half first.
        for half in (still[middle:], still[:middle]):
            if half:
                self._parts.append(_Part(half, cuts=cuts))

    # -- refused without a cause ----------------------------------------------------------

    @property
    def _moment_seconds(self) -> float:
        return max(MOMENT_SECONDS, _MOMENT_POSTS * self._longest_seconds)

    def _is_control_due(self) -> bool:
        """Whether to find out now if the sink takes anything.

        Half a moment is left for the posts until then: a doubted line meets the rest of it.
        """
        if self.evidence is None or not (self._opaque or self.evidence.is_suspected):
            return False
        if self._doubted and not (self._parts or self._suspects):
            return True
        if self.evidence.control() is None:
            return False
        since_seconds = self._since_seconds if self._doubted else self.evidence.judged_at_seconds
        too_long = self.evidence.now_seconds - since_seconds > self._moment_seconds / 2
        return too_long or self.evidence.is_suspected

    def _judged(self) -> None:
        """The sink judged points: what it refused since it did so before is judged by that."""
        if not self._doubted or self.evidence is None:
            return
        if self.evidence.now_seconds - self._since_seconds > self._moment_seconds:
            self._reopen()
        else:
            bad = len(self._doubted)
            self._doubted = []
            self._ended = self.bad(bad) or self._ended

    def _reopen(self) -> None:
        """The sink may have refused everything meanwhile."""
        for index in self._doubted:
            self.lines.status[index] = LineStatus.OPEN
            del self.lines.messages[index]
        if self._doubted:
            self._parts.append(_Part(self._doubted))
            self._doubted = []

    # -- refused points -------------------------------------------------------------------

    def _refused(self, part: _Part, outcome: Outcome) -> _Search:
        if outcome.refused_lines and self._listed(part, outcome.refused_lines):
            return
        status = _REFUSALS[outcome.kind]
        if len(part.lines) == 1:
            self._decide(part.lines, status, outcome.message, opaque=outcome.is_opaque)
            return
        lines = self._in_order(part.lines, outcome.kind)
        quoted = quoted_lines(outcome.message)
        blamed = [i for i in lines if _as_quoted(self.lines.text[i]) in quoted]
        if len(blamed) == len(lines) or outcome.dropped == len(lines):
            # All of them, it says: so the first and the last must be refused alone too.
            # What was posted alone is decided, or waits by itself to be tried again.
            for index, others in ((lines[0], lines[1:]), (lines[-1], lines[1:-1])):
                yield from self._judge(_Part([index]), (yield [index]))
                if self.lines.status[index] != status:
                    self._halve(others)
                    return
            self._refuse_all(lines[1:-1], outcome, quoted)
            return
        guilty = blamed or self._of_name(lines, outcome.message)
        if self._names_are_right and 0 < len(guilty) < len(lines):
            rest = set(lines).difference(guilty)
            self._parts.append(_Part([i for i in lines if i in rest]))
            # Tried first: if they are taken, the sink's message is of no use for the rest.
            self._parts.append(_Part(guilty, named=True))
        else:
            self._halve(lines)

    def _listed(self, part: _Part, refused: Sequence[RefusedLine]) -> bool:
        """Set aside what the sink lists by number; False if its numbers cannot be ours.

        The rest is posted again: that it is written, only an accepted post says.
        """
        lines = part.lines
        numbers = {one.number for one in refused}
        if min(numbers) < 1 or max(numbers) > len(lines):
            return False
        if not all(map(_counts_as_one, (self.lines.text[index] for index in lines))):
            return False
        for one in refused:
            self._decide([lines[one.number - 1]], _REFUSALS[one.kind], one.message)
        rest = [i for number, i in enumerate(lines, 1) if number not in numbers]
        if rest:
            self._parts.append(_Part(rest))
        return True

    def _in_order(self, lines: list[int], kind: Kind) -> list[int]:
        """The lines so that those lie together that are refused together."""
        if kind is Kind.OUTSIDE_WINDOW:
            return sorted(lines, key=self._age_key)
        if kind is Kind.LIMIT:
            return sorted(lines, key=self.lines.text.__getitem__)
        return lines

    def _of_name(self, lines: Sequence[int], message: str) -> list[int]:
        """The lines of what the sink's message names, if it names something."""
        name = named(message)
        return [] if name is None else [i for i in lines if name.holds(self.lines.text[i])]

    def _refuse_all(self, lines: Sequence[int], outcome: Outcome, quoted: dict[str, str]) -> None:
        if not lines:
            return
        self._decide(lines, _REFUSALS[outcome.kind], outcome.message, opaque=outcome.is_opaque)
        for index in lines:
            if own := quoted.get(_as_quoted(self.lines.text[index])):
                self.lines.messages[index] = own

    # -- points beyond the sink's retention -----------------------------------------------

    def _expired(self, part: _Part, outcome: Outcome) -> _Search:
        """What is refused for its age is cut by age.

        The sink drops the oldest, so its count says where to cut. A line may be refused alone that
        passes among newer ones (the sink keeps time in shards), therefore lines are tried together.
        """
        if len(part.lines) == 1:
            self._decide(part.lines, LineStatus.EXPIRED, outcome.message)
            return
        order = sorted(part.lines, key=self._age_key)
        dropped = outcome.dropped
        if dropped is None or dropped == len(order):
            # If the newest of them is too old, all are.
            newest = order[-1]
            yield from self._judge(_Part([newest]), (yield [newest]))
            if self.lines.status[newest] == LineStatus.EXPIRED:
                self._decide(order[:-1], LineStatus.EXPIRED, outcome.message)
            else:
                # It is decided, or waits by itself to be tried again.
                self._halve(order[:-1], part.cuts + 1)
        elif 0 < dropped < len(order) and part.cuts < _COUNTS_BELIEVED:
            self._parts.append(_Part(order[:dropped], cuts=part.cuts + 1))
            self._parts.append(_Part(order[dropped:], cuts=part.cuts + 1))
        else:
            self._halve(order, part.cuts + 1)

    def _age_key(self, index: int) -> float:
        stamp_ms = timestamp_ms(self.lines.text[index])
        return inf if stamp_ms is None else stamp_ms

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

    def _judge_suspects(self) -> _Search:
        while self._suspects and self._ended is None:
            index = self._suspects.pop()
            outcome = yield [index]
            if outcome.kind is not Kind.FAILED:
                yield from self._judge(_Part([index]), outcome)
            elif self._taken:
                self._decide([index], LineStatus.FAILED, outcome.message)
            else:
                self._suspects.append(index)
                self._blame_all(outcome)

    def _blame_all(self, outcome: Outcome) -> None:
        """Nothing is taken: give up, or blame every line that is still open."""
        if self.give_up is None:
            raise AssertionError("a failed post is the caller's business")
        self._ended = self.give_up()
        if self._ended is None:
            self._parts.clear()
            self._suspects.clear()
            self._decide(self.lines.open, LineStatus.FAILED, outcome.message)


def _counts_as_one(line: bytes) -> bool:
    """Whether the sink sees one line in it: neither none, as in a comment, nor the next one too."""
    begins = line.lstrip()
    return bool(begins) and not begins.startswith(b"#") and b'"' not in line and line[-1:] != b"\\"


def _as_quoted(line: bytes) -> str:
    """A line as JSON can hold it: what is not UTF-8 comes back as replacement characters."""
    return line.decode("utf-8", "replace")
