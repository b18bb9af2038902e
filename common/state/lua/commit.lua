-- Commit a window: its staged payloads become entries of the raw stream, its samples are booked as
-- extracted, and the window is closed; all of it, or nothing.
-- Returns {status, entry id, …}: committed, refused (lease or configuration is not the caller's any more)
-- or unstaged (a staged payload expired).
--
-- KEYS 1 feed, 2 open windows, 3 raw stream, 4 in-flight, 5 ledger, 6 unsettled, 7 committed, 8 staged,
--      9 rechecks, 10.. staged payload keys
-- ARGV 1 window id, 2 token, 3 fingerprint, 4 feed name, 5 query, 6 tier, 7 kind, 8 overhead of an entry (bytes),
--      9 recheck after (ms; 0 = never), 10 samples that the source counts in the window, 11 now (ms; '' =
--      the server's clock), then (samples, bytes) for each staged payload
--
-- Everything is read and checked first; the first write is XADD, which a server at maxmemory refuses
-- before anything has changed. The payloads themselves do not move.
local feed, windows, raw, in_flight, ledger, unsettled, committed, staged =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id = ARGV[1]
local json = redis.call('HGET', windows, id)
if not json then return {'refused'} end
local window = cjson.decode(json)
if window.t ~= ARGV[2] or redis.call('HGET', feed, 'fingerprint') ~= ARGV[3] then return {'refused'} end
for i = 10, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'unstaged'} end
end
for key, wanted in pairs({[raw] = 'stream', [in_flight] = 'hash', [ledger] = 'hash', [unsettled] = 'hash',
    [committed] = 'hash', [staged] = 'zset', [KEYS[9]] = 'zset'}) do
  if not has_type(key, wanted) then return {'wrong_type'} end
end

local total, ids = 0, {'committed'}
for i = 10, #KEYS do
  local samples, bytes = ARGV[12 + 2 * (i - 10)], ARGV[13 + 2 * (i - 10)]
  local entry = redis.call('XADD', raw, '*', 'schema', '1', 'query', ARGV[5], 'tier', ARGV[6], 'kind', ARGV[7],
    'window', id, 'samples', samples, 'payload', KEYS[i])
  redis.call('PERSIST', KEYS[i])
  redis.call('HSET', in_flight, entry,
    samples .. ' ' .. (tonumber(bytes) + tonumber(ARGV[8])) .. ' ' .. ARGV[4] .. ' ' .. id .. ' ' .. KEYS[i])
  redis.call('ZREM', staged, KEYS[i] .. ' ' .. bytes)
  total = total + tonumber(samples)
  ids[#ids + 1] = entry
end
if #KEYS > 9 then
  redis.call('HSET', unsettled, id, #KEYS - 9)
  redis.call('HSET', committed, id,
    ARGV[4] .. ' ' .. whole(window.s) .. ' ' .. whole(window.e))
  redis.call('HINCRBY', ledger, ARGV[4] .. '|extracted', total)
end
redis.call('HDEL', windows, id)
if tonumber(ARGV[9]) > 0 then
  local now = clock_ms(ARGV[11])
  redis.call('ZADD', KEYS[9], whole(now + tonumber(ARGV[9])),
    string.format('%.0f %.0f ', window.s, window.e) .. ARGV[10])
end
redis.call('HDEL', feed, 'attempts', 'not_before_ms')
return ids
