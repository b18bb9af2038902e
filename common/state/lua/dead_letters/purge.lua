-- Give a dead letter up for good: its samples become a counted drop.
--
-- KEYS 1 dead letters, 2 their records, 3 the dead letter's payload (where it names none of ours, a key that does not exist), 4 ledger,
--      5 how many of each group are kept, 6 what was purged
-- a    id (of the dead letter), start_ms, end_ms (in which its points lie), points (that it holds, or that its samples were to become)
-- Returns ok, deleted (there is no such dead letter any more) or wrong_type (a key holds something else).
--
-- XDEL first: purging must work at maxmemory, and what follows it in a script passes too.
local dead, dead_records, ledger = KEYS[1], KEYS[2], KEYS[4]
local found = redis.call('XRANGE', dead, a.id, a.id)
if #found == 0 then return 'deleted' end
if not have_types({[dead_records] = 'hash', [ledger] = 'hash', [KEYS[5]] = 'hash', [KEYS[6]] = 'hash'}) then return 'wrong_type' end
local letter = pairs_of(found[1][2])
local samples = count_of(letter.samples)
redis.call('XDEL', dead, a.id)
redis.call('HDEL', dead_records, a.id)
forget_kept(KEYS[5], letter)
redis.call('UNLINK', KEYS[3])
-- A foreign entry of the stream is in no ledger: it is only removed.
if samples and is_feed(letter.feed) then
  redis.call('HINCRBY', ledger, letter.feed .. '|dead_lettered', whole(0 - samples))
  redis.call('HINCRBY', ledger, letter.feed .. '|dropped|purged', whole(samples))
  if a.points > 0 then note_purged(KEYS[6], letter.feed, {{a.start_ms, a.end_ms, a.points}}) end
end
return 'ok'
