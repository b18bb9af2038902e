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
    """In ``where`` (a function, or a script) the text ``old`` becomes ``new``: no more ``what``."""

    what: str
    where: str
    old: str
    new: str = "pass"

    def script(self, source: str) -> str:
        """The changed source of the script ``where``."""
        assert source.count(self.old) == 1
        return source.replace(self.old, self.new)

    def function(self, source: str) -> str:
        """The source of a module, changed in the function ``where``."""
        found = re.search(rf"^( *)def {self.where}\(.*?(?=^\1def |^\1@|{_AFTER})", source, _LINES)
        assert found is not None
        return source[: found.start()] + self.script(found[0]) + source[found.end() :]


WINDOWS = (
    Broken("only the owner plans", "plan", "if not adopt:", "if False:"),
    Broken("a feed taken over is cut anew", "plan", "state.windows.clear()"),
    Broken("what was open is extracted again", "plan", "state.ranges += [", "_ = ["),
    Broken(
        "planning goes on at the head", "plan", "(state.head_ms, head_ms)", "(head_ms, head_ms)"
    ),
    Broken("planning moves the head", "plan", "state.head_ms = head_ms"),
    Broken("only the owner leases", "lease", "state.fingerprint != feed.fingerprint", "False"),
    Broken("tokens never repeat", "lease", "-{self._key_token()}", ""),
    Broken("open windows are bounded", "lease", "len(state.windows) >= self._max_open", "False"),
    Broken("a lease is exclusive", "_free", "not window.token or ", "True or "),
    Broken("a window belongs to its token", "_leased", "found.token != window.token", "False"),
    Broken(
        "a cut leaves the older part",
        "cut_newest",
        "((first, cut), (upper, last))",
        "((upper, last),)",
    ),
    Broken(
        "a cut leaves the newer part",
        "cut_newest",
        "((first, cut), (upper, last))",
        "((first, cut),)",
    ),
    Broken("a cut takes its piece away", "cut_newest", "state.ranges[index : index + 1] = rest"),
    Broken("a renewal lasts", "renew", "found.deadline_ms = self._now + self._lease_ms"),
    Broken(
        "a split lies within", "split", "not found.start_ms < middle_ms < found.end_ms", "False"
    ),
    Broken("a split has two halves", "split", "enumerate(halves,", "enumerate(halves[:1],"),
    Broken("a split takes the whole away", "split", "del state.windows[window.id]"),
    Broken("what is retried is nobody's", "retry", 'found.token, found.deadline_ms = "", 0'),
    Broken(
        "a failed range is extracted again", "fail", "[*state.ranges, found.bounds]", "state.ranges"
    ),
    Broken("a failed window is closed", "fail", "del state.windows[window.id]"),
    Broken("a gap ends with its window", "declare_gap", "min(until_ms, found.end_ms)", "until_ms"),
    Broken("a gap is declared", "declare_gap", "self._shared.add_gap(", _NOTHING),
    Broken("a gap leaves the rest", "declare_gap", "found.start_ms = upto_ms"),
    Broken("a gap's window is closed", "declare_gap", "del self._shared", "_ = self._shared"),
    Broken("gaps that do not touch are two", "add_gap", "and start_ms <= last.end_ms", ""),
    Broken("ranges that touch are one", "merged_ranges", "first <= merged", "first < merged"),
    Broken("ranges are kept in order", "merged_ranges", "sorted(ranges)", "ranges"),
    Broken("a commit needs its payloads", "commit", "item.key not in broker.payloads", "False"),
    Broken("a committed payload stays", "commit", "broker.staged.pop(item.key, None)"),
    Broken("a commit counts its samples", "commit", "broker.count(", _NOTHING),
    Broken("a commit counts its entries", "commit", "[window.id] = len(staged)", "[window.id] = 1"),
    Broken("a commit is remembered", "commit", "broker.committed[window.id]", "_"),
    Broken("a committed window is closed", "commit", "del state.windows[window.id]"),
    Broken("a commit is rechecked", "commit", "recheck_after_seconds > 0", "False"),
    Broken("only what is staged is discarded", "discard", "if item.key in self._broker.staged", ""),
    Broken("only the owner reopens", "reopen", "state.fingerprint != feed.fingerprint", "False"),
    Broken(
        "the backlog begins at the origin", "reopen", "max(start_ms, state.origin_ms)", "start_ms"
    ),
    Broken("the backlog ends at the head", "reopen", "min(end_ms, state.head_ms)", "end_ms"),
    Broken(
        "what is open is not reopened",
        "reopen",
        "*(window.bounds for window in state.windows.values())",
        "",
    ),
    Broken(
        "what is in the backlog is not reopened", "reopen", "taken = [*state.ranges, ", "taken = ["
    ),
    Broken(
        "an extended feed begins earlier",
        "reopen",
        "min(state.origin_ms, start_ms)",
        "state.origin_ms",
    ),
    Broken(
        "what was rechecked is not rechecked again",
        "reopen",
        "for recheck in done",
        "for recheck in ()",
    ),
    Broken("a recheck waits for its time", "due_rechecks", "if due_ms <= self._now", ""),
    Broken("a feed that is planned stays", "close", "int(unplanned_seconds * 1000)", "0"),
    Broken("a closed feed's backlog is a gap", "close", "self._shared.add_gap(", _NOTHING),
    Broken(
        "what is open in a closed feed is a gap",
        "close",
        "*(window.bounds for window in state.windows.values())",
        "",
    ),
    Broken(
        "a closed feed leaves no rechecks", "close", "self._shared.rechecks.pop(feed_name, None)"
    ),
)

STREAMS = (
    Broken(
        "only the holder settles",
        "settle",
        "if not self._ours(entry.id)",
        "if entry.id not in state.pending",
    ),
    Broken(
        "a settled entry is deleted",
        "settle",
        "self._remove(entry.id)",
        "state.pending.pop(entry.id)",
    ),
    Broken(
        "a verdict adds up",
        "settle",
        "verdict.samples != (record.samples if record else entry.samples)",
        "False",
    ),
    Broken("what is loaded is counted", "settle", '|loaded", verdict.loaded', '|loaded", 0'),
    Broken(
        "what is dropped is counted",
        "settle",
        '|dropped|{reason}", samples',
        '|dropped|{reason}", 0',
    ),
    Broken(
        "dead letters are counted",
        "settle",
        '|dead_lettered", letter.samples',
        '|dead_lettered", 0',
    ),
    Broken("outputs keep their window waiting", "settle", "+= len(verdict.outputs) - 1", "-= 1"),
    Broken("a settled window is removed", "settle", "broker.committed.pop(window_id, None)"),
    Broken("outputs go to the next stream", "settle", "self._outbound", "self.inbound"),
    Broken("what was delivered is not read again", "read", "if id_ not in state.delivered", ""),
    Broken(
        "a live worker keeps its entries",
        "claim",
        "now - pending.since_ms < self._lease_ms",
        "False",
    ),
    Broken(
        "an entry waits for its time", "claim", "state.not_before_ms.get(id_, 0) > now", "False"
    ),
    Broken(
        "a death is counted", "claim", "state.crashes.get(id_, 0) + 1", "state.crashes.get(id_, 0)"
    ),
    Broken(
        "a suspect comes alone", "claim", "return Claimed([self._entry(i) for i in taken], deleted)"
    ),
    Broken("only the holder renews", "renew", "if not self._ours(id_)", "if False"),
    Broken("only the holder releases", "release", "self._ours(id_) and ", ""),
    Broken("a replayed dead letter is deleted", "replay", "self.dead.remove(letter)"),
    Broken("a replayed dead letter is dead no more", "replay", "self.count(", _NOTHING),
    Broken(
        "a replayed dead letter's window waits", "replay", '["window"]] += 1', '["window"]] += 0'
    ),
    Broken("a purged dead letter is deleted", "purge", "self.dead.remove(letter)"),
    Broken(
        "a purged dead letter is counted",
        "purge",
        '|dropped|purged", letter["samples"]',
        '|dropped|purged", 0',
    ),
)

SCRIPTS = (
    Broken("a commit needs the token", "commit", "window.t ~= a.token or ", ""),
    Broken("a committed window is closed", "commit", "redis.call('HDEL', windows, id)", ""),
    Broken("a commit needs its payloads", "commit", "redis.call('EXISTS', KEYS[i]) == 0", "false"),
    Broken("a commit counts its entries", "commit", "unsettled, id, entries", "unsettled, id, 1"),
    Broken("only what is staged is discarded", "discard", "== 1 then", ">= 0 then"),
    Broken("a token never repeats", "lease", " .. '-' .. a.random", " .. '-'"),
    Broken("a lease is exclusive", "lease", "(window.t == '' or window.d <= now)", "true"),
    Broken("a cut leaves the rest", "lease", "if first < lower then", "if false then"),
    Broken("only the owner plans", "plan", "and not a.adopt", "and false"),
    Broken("a feed taken over is cut anew", "plan", "if #open > 0 then", "if false then"),
    Broken("a window belongs to its token", "window", "window.t ~= a.token or ", ""),
    Broken(
        "a failed range is to be extracted",
        "window",
        "{window.s, window.e}\n  replace",
        "nil\n  replace",
    ),
    Broken("a split lies within", "window", "middle <= window.s or middle >= window.e", "false"),
    Broken("a gap is declared", "window", "declare_gap(gaps, first, upto, a.reason, now)", ""),
    Broken("what is open is not doubled", "reopen", "open_ranges(windows)", "{}"),
    Broken(
        "a closed feed leaves what is open as a gap", "close", "backlog[#backlog + 1] = range", ""
    ),
    Broken("only the holder settles", "settle", " or pending[1][2] ~= a.consumer", ""),
    Broken("a verdict adds up", "settle", "if sum + dead_samples ~= samples then", "if false then"),
    Broken("a settled entry is deleted", "settle", "redis.call('XDEL', inbound, id)", ""),
    Broken("what is loaded is counted", "settle", "if a.loaded > 0 then", "if false then"),
    Broken("outputs keep their window waiting", "settle", "window, outputs - 1)", "window, -1)"),
    Broken("only the holder renews", "renew", "1, a.consumer)", "1)"),
    Broken("only the holder releases", "release", "id, id, 1, a.consumer)", "id, id, 1)"),
    Broken("a live worker keeps its entries", "claim", "'IDLE', a.lease_ms", "'IDLE', 0"),
    Broken("a replayed dead letter is deleted", "replay", "redis.call('XDEL', dead, a.id)", ""),
    Broken("a replayed dead letter's window waits", "replay", "== 1 then", "== 2 then"),
    Broken(
        "a purged dead letter is counted",
        "purge",
        "'|dropped|purged', whole(samples))",
        "'|dropped|purged', 0)",
    ),
)
