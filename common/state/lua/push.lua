-- Make entries of samples that were pushed: each is one feed's, and all are committed, or nothing.
--
-- KEYS 1 raw stream, 2 in-flight records, 3 ledger, then for each feed: the feed, the payload's key
-- a    window (that such entries say), feeds ({feed (whose ledger counts them), query, tier, kind, fingerprint, samples,
--      bytes (of the payload), dropped ({reason = samples} that no payload holds)} of each)
-- ARGV 2.. a payload for each feed; of one without samples it is not kept
-- Returns committed, refused (a feed has another configuration by now) or wrong_type (a key holds something else).
--
-- Everything is read and checked first; the first write adds memory, so that a server at maxmemory refuses all of it.
local raw, in_flight, ledger = KEYS[1], KEYS[2], KEYS[3]
if not have_types({[raw] = 'stream', [in_flight] = 'hash', [ledger] = 'hash'}) then return 'wrong_type' end
for i, one in ipairs(a.feeds) do
  if redis.call('HGET', KEYS[2 + 2 * i], 'fingerprint') ~= one.fingerprint then return 'refused' end
end
for i, one in ipairs(a.feeds) do
  local key, total = KEYS[3 + 2 * i], one.samples
  if one.samples > 0 then
    redis.call('SET', key, ARGV[1 + i])
    one.window = a.window
    append_entry(raw, in_flight, one, one.samples, one.bytes, key)
  end
  for reason, samples in pairs(one.dropped) do
    redis.call('HINCRBY', ledger, one.feed .. '|dropped|' .. reason, whole(samples))
    total = total + samples
  end
  redis.call('HINCRBY', ledger, one.feed .. '|extracted', whole(total))
end
return 'committed'
