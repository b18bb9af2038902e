"""What the machine must notice: one guard, or one line of the ledger, taken away in a copy."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINES = re.MULTILINE | re.DOTALL
_AFTER = r"^(?:def|class|@)|\Z"
# A call that does nothing, whatever it is given.
_NOTHING = "(lambda *_: None)("


@dataclass(frozen=True)
class Broken:
    """In ``where`` (a function, or a script) the text ``old`` becomes ``new``: no more ``what``.

    ``seed`` is that of a walk that notices it soon. Another walk does too: it only takes longer.
    """

    what: str
    where: str
    old: str
    new: str = "pass"
    seed: int = 0

    def script(self, source: str) -> str:
        """The changed source of the script ``where``.

        Raises :class:`ValueError` where nothing would be changed, which is no failed assertion: the
        machine would be said to have noticed it.
        """
        if source.count(self.old) != 1:
            raise ValueError(f"{self.old!r} is {source.count(self.old)} times in {self.where}")
        return source.replace(self.old, self.new)

    def function(self, source: str) -> str:
        """The source of a module, changed in the function ``where``."""
        found = re.search(rf"^( *)def {self.where}\(.*?(?=^\1def |^\1@|{_AFTER})", source, _LINES)
        assert found is not None
        return source[: found.start()] + self.script(found[0]) + source[found.end() :]


WINDOWS = (
    Broken("only the owner plans", "plan", "if not adopt:", "if False:", seed=3),
    Broken("a feed taken over is cut anew", "plan", "state.windows.clear()", seed=4),
    Broken("what was open is extracted again", "plan", "state.ranges += [", "_ = [", seed=4),
    Broken(
        "planning goes on at the head",
        "plan",
        "(state.head_ms, head_ms, 0)",
        "(head_ms, head_ms, 0)",
    ),
    Broken("planning moves the head", "plan", "state.head_ms = head_ms"),
    Broken(
        "only the owner leases", "lease", "state.fingerprint != feed.fingerprint", "False", seed=3
    ),
    Broken("tokens never repeat", "lease", "-{self._key_token()}", "", seed=1),
    Broken(
        "open windows are bounded",
        "_cut",
        "len(of_class) >= self._max_open",
        "False",
        seed=252,
    ),
    Broken("a lease is exclusive", "_free", "not window.token or ", "True or "),
    Broken(
        "a window belongs to its token", "_leased", "found.token != window.token", "False", seed=10
    ),
    Broken(
        "a cut leaves the older part",
        "newest_piece",
        "((first, cut), (upper, last))",
        "((upper, last),)",
    ),
    Broken(
        "a cut leaves the newer part",
        "newest_piece",
        "((first, cut), (upper, last))",
        "((first, cut),)",
    ),
    Broken("a cut takes its piece away", "_cut", "piece, state.ranges = found", "piece, _ = found"),
    Broken("a renewal lasts", "renew", "found.deadline_ms = self._now + self._lease_ms", seed=108),
    Broken(
        "a split lies within",
        "split",
        "not found.start_ms < middle_ms < found.end_ms",
        "False",
        seed=17,
    ),
    Broken(
        "a split has two halves", "split", "enumerate(halves,", "enumerate(halves[:1],", seed=53
    ),
    Broken("a split takes the whole away", "split", "del state.windows[window.id]", seed=53),
    Broken(
        "what is retried is nobody's", "retry", 'found.token, found.deadline_ms = "", 0', seed=21
    ),
    Broken(
        "a failed range is extracted again",
        "fail",
        "[*state.ranges, found.piece]",
        "state.ranges",
        seed=26,
    ),
    Broken("a failed window is closed", "fail", "del state.windows[window.id]", seed=26),
    Broken(
        "a gap ends with its window",
        "declare_gap",
        "min(until_ms, found.end_ms)",
        "until_ms",
        seed=2,
    ),
    Broken("a gap is declared", "declare_gap", "self._shared.add_gap(", _NOTHING, seed=1),
    Broken("a gap leaves the rest", "declare_gap", "found.start_ms = upto_ms", seed=30),
    Broken("a gap's window is closed", "declare_gap", "del state.windows[window.id]", seed=1),
    Broken("gaps that do not touch are two", "add_gap", "and start_ms <= last.end_ms", "", seed=15),
    Broken(
        "ranges that touch are one", "merged_pieces", "first <= merged", "first < merged", seed=1
    ),
    Broken("ranges are kept in order", "merged_pieces", "sorted(pieces)", "pieces", seed=26),
    Broken(
        "a commit needs its payloads", "commit", "item.key not in broker.payloads", "False", seed=17
    ),
    Broken("a committed payload stays", "commit", "broker.staged.pop(item.key, None)", seed=2),
    Broken(
        "a commit counts its samples", "commit", "sum(item.samples for item in staged) +", "0 +"
    ),
    Broken(
        "a commit counts its entries",
        "commit",
        "[window.id] = len(staged)",
        "[window.id] = 1",
        seed=3,
    ),
    Broken("a commit is remembered", "commit", "broker.committed[window.id]", "_", seed=1),
    Broken("a committed window is closed", "commit", "del state.windows[window.id]"),
    Broken("a commit is rechecked", "commit", "round_ + 1 < len(times)", "False"),
    Broken(
        "only what is staged is discarded",
        "discard",
        "if item.key in self._broker.staged",
        "",
        seed=2,
    ),
    Broken(
        "only the owner reopens", "reopen", "state.fingerprint != feed.fingerprint", "False", seed=2
    ),
    Broken(
        "the backlog begins at the origin",
        "reopen",
        "max(start_ms, state.origin_ms)",
        "start_ms",
        seed=11,
    ),
    Broken("the backlog ends at the head", "reopen", "min(end_ms, state.head_ms)", "end_ms"),
    Broken(
        "what is open is not reopened",
        "reopen",
        "[window.bounds for window in state.windows.values()]",
        "[]",
        seed=37,
    ),
    Broken(
        "what is in the backlog is not reopened",
        "reopen",
        "ranges_in([*state.ranges, ",
        "ranges_in([",
        seed=6,
    ),
    Broken(
        "what is deferred is not reopened",
        "reopen",
        "*state.deferred.ranges",
        "",
        seed=228,
    ),
    Broken(
        "what is deferred is extracted again",
        "defer",
        "[*deferred.ranges, found.piece]",
        "deferred.ranges",
        seed=4,
    ),
    Broken("a deferred window is closed", "defer", "del state.windows[window.id]", seed=4),
    Broken(
        "what is deferred is cut once",
        "cut",
        "self.ranges[index : index + 1] = [one for one in rest if one[0] < one[1]]",
        "pass",
        seed=33,
    ),
    Broken(
        "a piece of what is deferred is tried again",
        "release_deferred",
        "*self.deferred.ranges",
        "",
        seed=39,
    ),
    Broken(
        "what is deferred in a closed feed is a gap",
        "close",
        ", *state.deferred.ranges",
        "",
        seed=19,
    ),
    Broken(
        "an extended feed begins earlier",
        "reopen",
        "min(state.origin_ms, start_ms)",
        "state.origin_ms",
        seed=2,
    ),
    Broken(
        "what was rechecked is not rechecked again",
        "reopen",
        "for recheck in done:",
        "for recheck in ():",
        seed=0,
    ),
    Broken("a recheck waits for its time", "due_rechecks", "if due_ms <= self._now", "", seed=4),
    Broken(
        "what was opened again has one recount less", "reopen", "(*range_, round_)", "(*range_, 0)"
    ),
    Broken(
        "a recheck has its time",
        "pass_rechecks",
        "[one.round + 1] - after_seconds[one.round]",
        "[0] * 0",
        seed=18,
    ),
    Broken(
        "failures of a recheck are counted",
        "postpone_rechecks",
        "one.failures + failures",
        "0",
        seed=9,
    ),
    Broken(
        "a query that changed has no rechecks",
        "plan",
        "self._shared.rechecks.pop(feed.name, None)",
        seed=4,
    ),
    Broken("a feed that is planned stays", "close", "int(unplanned_seconds * 1000)", "0"),
    Broken("a closed feed's backlog is a gap", "close", "self._shared.add_gap(", _NOTHING, seed=15),
    Broken(
        "what is open in a closed feed is a gap",
        "close",
        "[window.piece for window in state.windows.values()]",
        "[]",
        seed=107,
    ),
    Broken(
        "a closed feed leaves no rechecks",
        "close",
        "self._shared.rechecks.pop(feed_name, None)",
        seed=54,
    ),
)

STREAMS = (
    Broken(
        "only the holder settles",
        "settle",
        "if not self._ours(entry.id)",
        "if entry.id not in state.pending",
        seed=13,
    ),
    Broken(
        "a settled entry is deleted",
        "settle",
        "self._remove(entry.id)",
        "state.pending.pop(entry.id)",
        seed=5,
    ),
    Broken(
        "a verdict adds up",
        "settle",
        "verdict.samples != (record.samples if record else entry.samples)",
        "False",
        seed=25,
    ),
    Broken(
        "what is loaded is counted", "settle", '|loaded", verdict.loaded', '|loaded", 0', seed=42
    ),
    Broken(
        "what is dropped is counted",
        "settle",
        '|dropped|{reason}", samples',
        '|dropped|{reason}", 0',
        seed=27,
    ),
    Broken(
        "dead letters are counted",
        "settle",
        '|dead_lettered", letter.samples',
        '|dead_lettered", 0',
        seed=5,
    ),
    Broken(
        "outputs keep their window waiting",
        "settle",
        "+= len(verdict.outputs) - 1",
        "-= 1",
        seed=22,
    ),
    Broken(
        "a settled window is removed", "settle", "broker.committed.pop(window_id, None)", seed=32
    ),
    Broken("what is loaded is sealed", "_with", "found + digest", "found", seed=22),
    Broken("the later extraction seals", "loaded", "known != window_id", "False", seed=104),
    Broken("outputs go to the next stream", "settle", "self._outbound", "self.inbound"),
    Broken(
        "what was delivered is not read again", "read", "if id_ not in state.delivered", "", seed=24
    ),
    Broken(
        "a live worker keeps its entries",
        "claim",
        "now - pending.since_ms < self._lease_ms",
        "False",
        seed=24,
    ),
    Broken(
        "an entry waits for its time",
        "claim",
        "state.not_before_ms.get(id_, 0) > now",
        "False",
        seed=8,
    ),
    Broken(
        "a death is counted",
        "claim",
        "state.crashes.get(id_, 0) + 1",
        "state.crashes.get(id_, 0)",
        seed=0,
    ),
    Broken(
        "a suspect comes alone",
        "claim",
        "return Claimed([self._entry(i) for i in taken], deleted)",
        seed=0,
    ),
    Broken("only the holder renews", "renew", "if not self._ours(id_)", "if False", seed=12),
    Broken("only the holder releases", "release", "self._ours(id_) and ", "", seed=3),
    Broken("a replayed dead letter is deleted", "replay", "self.dead.remove(letter)", seed=5),
    Broken("a replayed dead letter is dead no more", "replay", "self.count(", _NOTHING, seed=5),
    Broken(
        "a replayed dead letter's window waits",
        "replay",
        '["window"]] += 1',
        '["window"]] += 0',
        seed=6,
    ),
    Broken("a purged dead letter is deleted", "purge", "self.dead.remove(letter)", seed=12),
    Broken(
        "a purged dead letter is counted",
        "purge",
        '|dropped|purged", letter["samples"]',
        '|dropped|purged", 0',
        seed=12,
    ),
)
