-- Take dead letters that were only counted out of the count: their samples become a counted drop.
--
-- KEYS 1 those that are only counted, 2 records of dead letters, 3 ledger, 4 what was purged, 5.. what is to be extracted
--      again needs (common/state/again.py)
-- a    group, samples (that the caller saw), reason (of the drop), again (their windows are to be extracted again)
-- Returns ok, deleted (there are none any more), changed (more were counted meanwhile), closed (the feed has gone, so
-- that it cannot be extracted) or wrong_type (a key holds something else).
local dead_counted, dead_records, ledger, purged = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if not have_types({[dead_counted] = 'hash', [dead_records] = 'hash', [ledger] = 'hash',
    [purged] = 'hash'}) then
  return 'wrong_type'
end
local json = redis.call('HGET', dead_counted, a.group)
if not json then return 'deleted' end
local counted = cjson.decode(json)
if counted.samples ~= a.samples then return 'changed' end
local feed = cjson.decode(a.group)[3]
local open_again, why_not
if a.again then
  local ranges = {}
  for i, window in ipairs(counted.windows) do ranges[i] = {window[1], window[2]} end
  open_again, why_not = extracted_again({unpack(KEYS, 5)}, a.again, ranges)
  if not open_again then return why_not or 'closed' end
end
redis.call('HDEL', dead_counted, a.group)
redis.call('HDEL', dead_records, a.group)
redis.call('HINCRBY', ledger, feed .. '|dead_lettered', whole(0 - a.samples))
redis.call('HINCRBY', ledger, feed .. '|dropped|' .. a.reason, whole(a.samples))
if open_again then open_again() end
-- What is extracted again comes after all.
if a.reason == 'purged' then note_purged(purged, feed, counted.windows) end
return 'ok'
