"""The same of the scripts: what the machine must notice on a real server."""

from __future__ import annotations

from tests.window_machine.broken import Broken

SCRIPTS = (
    Broken("a commit needs the token", "commit", "window.t ~= a.token or ", "", seed=10),
    Broken("a committed window is closed", "commit", "redis.call('HDEL', windows, id)", ""),
    Broken(
        "a commit needs its payloads",
        "commit",
        "redis.call('EXISTS', KEYS[10 + i]) == 0",
        "false",
        seed=5,
    ),
    Broken(
        "a commit counts its entries",
        "commit",
        "unsettled, id, entries",
        "unsettled, id, 1",
        seed=3,
    ),
    Broken("only what is staged is discarded", "discard", "== 1 then", ">= 0 then", seed=2),
    Broken("a token never repeats", "lease", " .. '-' .. a.random", " .. '-'", seed=5),
    Broken("a lease is exclusive", "lease", "(window.t == '' or window.d <= now)", "true", seed=9),
    Broken(
        "a cut leaves the rest", "lease", "if first < lower then ranges", "if false then ranges"
    ),
    Broken("only the owner plans", "plan", "and not a.adopt", "and false", seed=3),
    Broken("a feed taken over is cut anew", "plan", "if taken_over then", "if false then", seed=4),
    Broken("a window belongs to its token", "window", "window.t ~= a.token or ", "", seed=11),
    Broken(
        "a failed range is to be extracted",
        "window",
        "range_of(window)\n  replace({})\n  redis.call('HSET', feed, field",
        "nil\n  replace({})\n  redis.call('HSET', feed, field",
        seed=5,
    ),
    Broken(
        "what is deferred is to be extracted",
        "window",
        "feed, 'deferred', ranges_json(ranges)",
        "feed, 'deferred', '[]'",
        seed=6,
    ),
    Broken(
        "what is deferred is cut once",
        "lease",
        "ranges_json(deferred)",
        "redis.call('HGET', feed, 'deferred')",
        seed=33,
    ),
    Broken(
        "what is deferred in a closed feed is a gap",
        "close",
        "ranges_of(feed, 'deferred')",
        "{}",
        seed=19,
    ),
    Broken(
        "a split lies within", "window", "middle <= window.s or middle >= window.e", "false", seed=2
    ),
    Broken(
        "a gap is declared", "window", "declare_gap(gaps, first, upto, a.reason, now)", "", seed=1
    ),
    Broken(
        "what is open is not doubled", "reopen", "others = to_extract(feed, windows)", "others = {}"
    ),
    Broken("a recount comes after the other", "commit", "window.r or 0", "0", seed=68),
    Broken(
        "what was opened again has one recount less",
        "reopen",
        "round > 0 and round or nil",
        "nil",
    ),
    Broken("a recheck has its time", "recheck", "due + after - before", "due", seed=18),
    Broken(
        "a query that changed has no rechecks", "plan", "if not keeps_rechecks", "if false", seed=4
    ),
    Broken("only the holder settles", "settle", " or pending[1][2] ~= a.consumer", "", seed=8),
    Broken("a verdict adds up", "settle", "if sum + dead_samples ~= samples then", "if false then"),
    Broken("a settled entry is deleted", "settle", "redis.call('XDEL', inbound, id)", "", seed=5),
    Broken("what is loaded is counted", "settle", "if a.loaded > 0 then", "if false then", seed=2),
    Broken(
        "outputs keep their window waiting", "settle", "window, outputs - 1)", "window, -1)", seed=6
    ),
    Broken("what is loaded is sealed", "settle", "added(digest, a.digest)", "digest", seed=22),
    Broken(
        "the later extraction seals",
        "settle",
        "if window and window ~= origin.window or not record and a.start_ms then return end",
        "",
        seed=104,
    ),
    Broken("what is replayed later is sealed", "settle", "  add_replayed()\n", "", seed=53),
    Broken(
        "a replay keeps its seal waiting", "dead_letters/replay", "entries + 1", "entries", seed=91
    ),
    Broken(
        "an empty window is sealed",
        "commit",
        "seals_due, seal, due_seal(",
        "seals, seal, due_seal(",
        seed=3,
    ),
    Broken("only the holder renews", "renew", "1, a.consumer)", "1)"),
    Broken("only the holder releases", "release", "id, id, 1, a.consumer)", "id, id, 1)", seed=6),
    Broken("a live worker keeps its entries", "claim", "'IDLE', a.lease_ms", "'IDLE', 0", seed=1),
    Broken(
        "a replayed dead letter is deleted",
        "dead_letters/replay",
        "redis.call('XDEL', dead, a.id)",
        "",
        seed=5,
    ),
    Broken(
        "a replayed dead letter's window waits",
        "dead_letters/replay",
        "== 1 then",
        "== 2 then",
        seed=6,
    ),
    Broken(
        "a purged dead letter is counted",
        "dead_letters/purge",
        "'|dropped|purged', whole(samples))",
        "'|dropped|purged', 0)",
        seed=6,
    ),
)
