-- Hand-off of one entry: write its outputs and dead letters, take it away, book its samples.
-- Returns {status} with status one of ok, refused, mismatch, dead_full, loss.
--
-- KEYS 1 inbound stream, 2 inbound in-flight, 3 inbound crashes, 4 outbound stream,
--      5 outbound in-flight, 6 dead letters, 7 ledger, 8 unsettled, 9 committed,
--      10 the entry's payload key ('' if it names none of ours), 11 held dead letters,
--      12.. payload keys: one for each output, then one for each dead letter
-- ARGV 1 group, 2 consumer, 3 entry id, 4 samples the entry itself claims, 5 query, 6 tier, 7 kind,
--      8 window, 9 loaded, 10 stage, 11 now (ms), 12 most dead letters kept, 13 overhead of an entry (bytes),
--      14 number of outputs, 15 number of dead letters, 16 number of drop reasons,
--      then (payload, samples) each, (reason, detail, payload, samples) each, (reason, samples) each
--
-- A script does not roll back, so everything is read and checked before the first write. Where there
-- is something to write, the first write adds memory, so that a server at maxmemory refuses the whole
-- script; where there is not, it is XACK, so that the loader can always free memory.
local inbound, in_flight, crashes, outbound, out_flight, dead, ledger, unsettled, committed =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]
local query, tier, kind, window = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local loaded = tonumber(ARGV[9])
local outputs, letters, reasons = tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])
local first_output, first_letter = 17, 17 + 2 * outputs
local first_reason = first_letter + 4 * letters

for _, wrong in ipairs({
  not has_type(outbound, 'stream'), not has_type(out_flight, 'hash'), not has_type(dead, 'stream'),
  not has_type(ledger, 'hash'), not has_type(unsettled, 'hash'), not has_type(committed, 'hash'),
  not has_type(crashes, 'hash'), not has_type(KEYS[11], 'hash'),
}) do
  if wrong then return {'wrong_type'} end
end

local pending = redis.pcall('XPENDING', inbound, group, id, id, 1)
if pending.err or #pending == 0 or pending[1][2] ~= consumer then return {'refused'} end

-- What the ledger holds for the entry counts, not what the worker believes. An entry that the hash
-- does not know (somebody removed the field) is booked by its own claim: the audit has reported it.
local held = redis.call('HGET', in_flight, id)
local samples = held and tonumber(string.match(held, '^(%d+) ')) or tonumber(ARGV[4])
local payload_key = held and string.match(held, ' (%S+)$') or KEYS[10]

local function names(hash, key)
  for _, value in ipairs(redis.call('HVALS', hash)) do
    if string.match(value, ' (%S+)$') == key then return true end
  end
  return false
end
if not held and payload_key ~= '' and (names(in_flight, payload_key) or names(out_flight, payload_key)) then
  -- Somebody copied an entry: the payload is the other one's.
  payload_key = ''
end

local feed = query .. '@' .. tier
if held then
  -- The books are kept under the feed that the samples were extracted for.
  local held_feed, held_window = string.match(held, '^%d+ %d+ (%S+) (%S+) ')
  feed, window = held_feed or feed, held_window or window
end

local sum = loaded
for i = 0, outputs - 1 do sum = sum + tonumber(ARGV[first_output + 2 * i + 1]) end
for i = 0, letters - 1 do sum = sum + tonumber(ARGV[first_letter + 4 * i + 3]) end
for i = 0, reasons - 1 do sum = sum + tonumber(ARGV[first_reason + 2 * i + 1]) end
if sum ~= samples then return {'mismatch', tostring(samples)} end
if letters > 0 and redis.call('XLEN', dead) + letters > tonumber(ARGV[12]) then return {'dead_full'} end
local counts_window = redis.call('HEXISTS', unsettled, window) == 1

for i = 0, outputs - 1 do
  local payload, n = ARGV[first_output + 2 * i], ARGV[first_output + 2 * i + 1]
  local key = KEYS[12 + i]
  redis.call('SET', key, payload)
  local out_id = redis.call('XADD', outbound, '*', 'schema', '1', 'query', query, 'tier', tier, 'kind', kind,
    'window', window, 'samples', n, 'payload', key)
  redis.call('HSET', out_flight, out_id,
    n .. ' ' .. (#payload + tonumber(ARGV[13])) .. ' ' .. feed .. ' ' .. window .. ' ' .. key)
end
for i = 0, letters - 1 do
  local at = first_letter + 4 * i
  local key = KEYS[12 + outputs + i]
  redis.call('SET', key, ARGV[at + 2])
  local letter = redis.call('XADD', dead, '*', 'schema', '1', 'stage', ARGV[10], 'reason', ARGV[at],
    'detail', ARGV[at + 1], 'query', query, 'tier', tier, 'kind', kind, 'window', window, 'feed', feed, 'entry', id,
    'samples', ARGV[at + 3], 'at_ms', ARGV[11], 'payload', key)
  redis.call('HSET', KEYS[11], letter, ARGV[at + 3] .. ' ' .. feed)
end

redis.call('XACK', inbound, group, id)
redis.call('XDEL', inbound, id)
if payload_key ~= '' then redis.call('UNLINK', payload_key) end
redis.call('HDEL', in_flight, id)
redis.call('HDEL', crashes, id)
if loaded > 0 then redis.call('HINCRBY', ledger, feed .. '|loaded', loaded) end
for i = 0, letters - 1 do
  redis.call('HINCRBY', ledger, feed .. '|dead_lettered', ARGV[first_letter + 4 * i + 3])
end
for i = 0, reasons - 1 do
  redis.call('HINCRBY', ledger, feed .. '|dropped|' .. ARGV[first_reason + 2 * i], ARGV[first_reason + 2 * i + 1])
end
if counts_window and redis.call('HINCRBY', unsettled, window, outputs - 1) <= 0 then
  redis.call('HDEL', unsettled, window)
  redis.call('HDEL', committed, window)
end
return {'ok', held and 'held' or 'loss'}
