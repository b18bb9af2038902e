-- Commit a window: its staged payloads become entries of the raw stream, its samples are counted as
-- extracted, and the window is closed; all of it, or nothing.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 raw stream, 6 in-flight records,
--      7 ledger, 8 unsettled, 9 committed, 10 staged, 11.. staged payloads; then, of a part of a backfill, that; the last
--      four are what was purged, the seals that are not settled, those that are due, sums of what was replayed
-- a    window, token, fingerprint, feed, query, tier, kind, staged ({samples, bytes} of each payload),
--      recheck_after_ms (of each recount, since the first commit), source_samples (that the source has in the window),
--      digest (of them, its halves low and high), dropped ({reason = samples} that no payload holds),
--      matched (the query gave something), backfill (whether it is a part of one)
-- Returns committed, refused (lease or configuration is not the caller's any more), unstaged (a staged
-- payload expired) or wrong_type (a key holds something else).
--
-- Everything is read and checked first; the first write is XADD, which a server at maxmemory refuses
-- before anything has changed. The payloads themselves do not move.
local feed, windows, gaps, rechecks, raw, in_flight, ledger, unsettled, committed, staged =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local purged, seals, seals_due, seals_replayed = KEYS[#KEYS - 3], KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local id, entries = a.window, #a.staged
local window = leased_window(feed, windows)
if not window then return 'refused' end
for i = 1, entries do
  if redis.call('EXISTS', KEYS[10 + i]) == 0 then return 'unstaged' end
end
if not have_types({[raw] = 'stream', [in_flight] = 'hash', [ledger] = 'hash', [unsettled] = 'hash',
    [committed] = 'hash', [staged] = 'zset', [rechecks] = 'zset', [seals] = 'hash', [seals_due] = 'hash',
    [seals_replayed] = 'hash', [purged] = 'hash', [gaps] = 'list'}) then
  return 'wrong_type'
end

-- The declared gaps without what is extracted after all (the query came back, the source has it again); nil where they
-- hold nothing of it.
local function other_gaps(first, last)
  local kept, overlap = {}, false
  for _, json in ipairs(redis.call('LRANGE', gaps, 0, -1)) do
    local gap = cjson.decode(json)
    if gap.e <= first or last <= gap.s then
      kept[#kept + 1] = json
    else
      overlap = true
      local rests = without({{gap.s, gap.e}}, {{first, last}})
      -- What is left on both sides remains one gap where gaps are counted.
      local of = gap.of or #rests > 1 and whole(gap.s) .. ' ' .. whole(gap.at) or nil
      for _, rest in ipairs(rests) do
        kept[#kept + 1] = cjson.encode({s = rest[1], e = rest[2], reason = gap.reason, at = gap.at, of = of})
      end
    end
  end
  return overlap and kept
end
local is_ours, gaps_left = pcall(other_gaps, window.s, window.e)

local total = 0
a.start_ms, a.end_ms = window.s, window.e
for i, payload in ipairs(a.staged) do
  local key, samples, bytes = KEYS[10 + i], payload[1], payload[2]
  append_entry(raw, in_flight, a, samples, bytes, key)
  redis.call('PERSIST', key)
  redis.call('ZREM', staged, key .. ' ' .. whole(bytes))
  total = total + samples
end
if entries > 0 then
  redis.call('HSET', unsettled, id, entries)
  redis.call('HSET', committed, id, a.feed .. ' ' .. whole(window.s) .. ' ' .. whole(window.e))
end
for reason, samples in pairs(a.dropped) do
  redis.call('HINCRBY', ledger, a.feed .. '|dropped|' .. reason, whole(samples))
  total = total + samples
end
if total > 0 then redis.call('HINCRBY', ledger, a.feed .. '|extracted', whole(total)) end
if a.backfill then
  local backfill = KEYS[11 + entries]
  local rate, paced_until = unpack(redis.call('HMGET', backfill, 'rate', 'not_before_ms'))
  redis.call('HINCRBY', backfill, 'samples', whole(total))
  if (tonumber(rate) or 0) > 0 then
    -- Time that was not used counts, some of it: windows are leased when planning looks for them.
    local now = clock_ms()
    local until_ms = math.max(now - 10000, tonumber(paced_until) or now) + total * 1000 / tonumber(rate)
    redis.call('HSET', backfill, 'not_before_ms', whole(until_ms), 'wait_ms', whole(math.max(0, until_ms - now)))
  end
end
redis.call('HDEL', windows, id)
if is_ours and gaps_left then
  redis.call('DEL', gaps)
  for _, gap in ipairs(gaps_left) do redis.call('RPUSH', gaps, gap) end
end
if a.matched then
  local since = tonumber(redis.call('HGET', feed, 'empty_since_ms')) or 0
  redis.call('HSET', feed, 'empty_since_ms', whole(math.max(since, window.e)))
end
-- It takes the place of an older window of the same end; that a window is empty is sealed at once.
local seal, now = seal_field(a.feed, window.e), clock_ms()
redis.call('HDEL', seals_replayed, seal)
if entries > 0 then
  redis.call('HSET', seals, seal, pack_seal(id, entries, now, 0, NO_DIGEST))
else
  redis.call('HDEL', seals, seal)
  redis.call('HSET', seals_due, seal, due_seal(window.s, 0, NO_DIGEST, now, id))
end
if redis.call('HEXISTS', purged, a.feed) == 1 then forget_purged(purged, a.feed, window.s, window.e) end
-- What was opened again by a recount goes on with the next one: so it comes to an end.
local round = window.r or 0
local after, before = a.recheck_after_ms[round + 1], a.recheck_after_ms[round] or 0
if after then
  redis.call('ZADD', rechecks, whole(now + after - before), pack_recheck({s = window.s, e = window.e,
    samples = a.source_samples, low = a.digest[1], high = a.digest[2], round = round, since = round, failures = 0}))
end
redis.call('HDEL', feed, 'attempts', 'not_before_ms')
if window.p then release_deferred(feed) end
return 'committed'
