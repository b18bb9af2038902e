-- Take a dead letter up again: it becomes an entry of the stream of the stage that refused it.
--
-- KEYS 1 dead letters, 2 their records, 3 the dead letter's payload (where it names none of ours, a key that does not exist), 4 stream,
--      5 in flight, 6 ledger, 7 unsettled, 8 payload of the new entry, 9 how many of each group are kept,
--      10 the seals that are not settled
-- a    id (of the dead letter)
-- ARGV 2 payload of the new entry
-- Returns ok, deleted (there is no such dead letter any more), malformed (it is none of ours) or wrong_type
-- (a key holds something else).
local dead, dead_records, stream, in_flight, ledger, unsettled = KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local found = redis.call('XRANGE', dead, a.id, a.id)
if #found == 0 then return 'deleted' end
local letter = pairs_of(found[1][2])
local samples = count_of(letter.samples)
if not samples or not letter.query or not letter.tier or not letter.kind or not letter.window
    or not is_feed(letter.feed) or string.find(letter.window, '%s') then
  return 'malformed'
end
if not have_types({[dead_records] = 'hash', [stream] = 'stream', [in_flight] = 'hash', [ledger] = 'hash',
    [unsettled] = 'hash', [KEYS[9]] = 'hash', [KEYS[10]] = 'hash'}) then
  return 'wrong_type'
end
redis.call('SET', KEYS[8], ARGV[2])
letter.replayed = true
letter.start_ms, letter.end_ms = count_of(letter.start_ms), count_of(letter.end_ms)
if not letter.end_ms then letter.start_ms = nil end
append_entry(stream, in_flight, letter, samples, #ARGV[2], KEYS[8])
redis.call('XDEL', dead, a.id)
redis.call('HDEL', dead_records, a.id)
forget_kept(KEYS[9], letter)
redis.call('UNLINK', KEYS[3])
redis.call('HINCRBY', ledger, letter.feed .. '|dead_lettered', whole(0 - samples))
-- Its window, if others of its entries are still under way, now waits for this one too.
if redis.call('HEXISTS', unsettled, letter.window) == 1 then
  redis.call('HINCRBY', unsettled, letter.window, 1)
  local field = letter.end_ms and seal_field(letter.feed, letter.end_ms)
  local window, entries, committed_ms, points, digest = unpack_seal(field and redis.call('HGET', KEYS[10], field))
  if window == letter.window then
    redis.call('HSET', KEYS[10], field, pack_seal(window, entries + 1, committed_ms, points, digest))
  end
end
return 'ok'
