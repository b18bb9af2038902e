-- Hand-off of one entry: write its outputs and dead letters, take it away, count its samples.
--
-- KEYS 1..4 stream, its in-flight records, crashes, released, 5 outbound stream, 6 its in-flight records,
--      7 dead letters, 8 their records, 9 ledger, 10 unsettled, 11 committed,
--      12 how many dead letters of each group are kept, 13 those that are only counted,
--      14 the entry's payload (where it names none of ours, a key that does not exist),
--      15.. new payloads: one for each output, then one for each dead letter; last what was settled of late
-- a    group, consumer, entry (id), samples (that the entry itself claims), query, tier, kind, window, stage,
--      loaded, drops ({reason = samples}), outputs ({samples, …}), dead ({{reason, detail, samples, measurement}, …}), max_dead,
--      sample (dead letters of a group that are kept; further ones are only counted, by window; 0 = all are kept),
--      most_noted (of what was settled of late)
-- ARGV 2.. the new payloads, in the order of their keys
-- Returns ok, refused (not pending with the caller), mismatch (the verdict does not account for every sample),
-- dead_full or wrong_type (a key holds something else).
--
-- A script does not roll back, so everything is read and checked before the first write. Where there
-- is something to write, the first write adds memory, so that a server at maxmemory refuses the whole
-- script; where there is not, it is XACK, so that the loader can always free memory.
local inbound, in_flight, crashes, outbound, out_flight, dead, dead_records, ledger, unsettled, committed =
  KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local dead_kept, dead_counted, settled = KEYS[12], KEYS[13], KEYS[#KEYS]
local id, outputs = a.entry, #a.outputs
local MOST_WINDOWS = 200

if not have_types({[outbound] = 'stream', [out_flight] = 'hash', [crashes] = 'hash', [dead] = 'stream',
    [dead_records] = 'hash', [ledger] = 'hash', [unsettled] = 'hash', [committed] = 'hash',
    [dead_kept] = 'hash', [dead_counted] = 'hash', [settled] = 'stream'}) then
  return 'wrong_type'
end

local pending = redis.pcall('XPENDING', inbound, a.group, id, id, 1)
if pending.err or #pending == 0 or pending[1][2] ~= a.consumer then return 'refused' end

-- What is recorded of the entry counts (the feed that its samples were extracted for, too), not what the worker
-- believes. An entry without a record (somebody removed it) is counted by its own claim: the audit has reported it.
local record = redis.call('HGET', in_flight, id) or ''
local samples, _, feed, window, payload_key = unpack_record(record)
local is_recorded = samples ~= nil
samples = samples or a.samples
local origin = {query = a.query, tier = a.tier, kind = a.kind, window = window or a.window,
  feed = feed or a.query .. '@' .. a.tier}

local function is_named_in(hash, key)
  for _, record in ipairs(redis.call('HVALS', hash)) do
    if select(5, unpack_record(record)) == key then return true end
  end
  return false
end
if not payload_key then
  payload_key = KEYS[14]
  -- Where somebody copied an entry, the payload is the other one's.
  if is_named_in(in_flight, payload_key) or is_named_in(out_flight, payload_key) then
    payload_key = ''
  end
end

local sum, dead_samples = a.loaded, 0
for _, n in ipairs(a.outputs) do sum = sum + n end
for _, n in pairs(a.drops) do sum = sum + n end
for _, letter in ipairs(a.dead) do dead_samples = dead_samples + letter[3] end
if sum + dead_samples ~= samples then return 'mismatch' end

-- Which dead letters are kept, and which are only counted. Those whose window is not known (it was settled long
-- ago) are kept: by its window alone can a counted one be extracted again.
local first_ms, last_ms = string.match(redis.call('HGET', committed, origin.window) or '', ' (%d+) (%d+)$')
local groups, kept, counted, added = {}, {}, {}, 0
for i, letter in ipairs(a.dead) do
  local group = dead_group(a.stage, letter[1], origin.feed, letter[4])
  groups[i] = group
  kept[group] = kept[group] or tonumber(redis.call('HGET', dead_kept, group) or 0)
  if a.sample > 0 and first_ms and kept[group] >= a.sample then
    counted[i] = true
    if redis.call('HEXISTS', dead_counted, group) == 0 then added = added + 1 end
  else
    kept[group], added = kept[group] + 1, added + 1
  end
end
if added > 0 and redis.call('XLEN', dead) + redis.call('HLEN', dead_counted) + added > a.max_dead then
  return 'dead_full'
end
local counts_window = redis.call('HEXISTS', unsettled, origin.window) == 1

for i, n in ipairs(a.outputs) do
  local key, payload = KEYS[14 + i], ARGV[1 + i]
  redis.call('SET', key, payload)
  append_entry(outbound, out_flight, origin, n, #payload, key)
end
local function keep(i, letter)
  local key = KEYS[14 + outputs + i]
  redis.call('SET', key, ARGV[1 + outputs + i])
  local letter_id = redis.call('XADD', dead, '*', 'schema', '1', 'stage', a.stage, 'reason', letter[1],
    'detail', letter[2], 'query', a.query, 'tier', a.tier, 'kind', a.kind, 'window', origin.window, 'feed', origin.feed,
    'entry', id, 'samples', whole(letter[3]), 'at_ms', whole(clock_ms()), 'measurement', letter[4], 'payload', key)
  redis.call('HSET', dead_records, letter_id, whole(letter[3]) .. ' ' .. origin.feed)
  redis.call('HINCRBY', dead_kept, groups[i], 1)
end
local function count_only(i, letter)
  local json = redis.call('HGET', dead_counted, groups[i])
  local found = json and cjson.decode(json) or {samples = 0, letters = 0, windows = {}}
  found.samples, found.letters = found.samples + letter[3], found.letters + 1
  found.query, found.tier, found.kind = a.query, a.tier, a.kind
  found.detail, found.at_ms = letter[2], clock_ms()
  add_to_window(found.windows, tonumber(first_ms), tonumber(last_ms), letter[3], MOST_WINDOWS)
  redis.call('HSET', dead_counted, groups[i], cjson.encode(found))
  redis.call('HSET', dead_records, groups[i], whole(found.samples) .. ' ' .. origin.feed)
end
for i, letter in ipairs(a.dead) do
  if counted[i] then count_only(i, letter) else keep(i, letter) end
end

redis.call('XACK', inbound, a.group, id)
redis.call('XDEL', inbound, id)
if payload_key ~= '' then redis.call('UNLINK', payload_key) end
redis.call('HDEL', in_flight, id)
-- For an audit that is under way and has not come to this entry yet.
if is_recorded then
  redis.call('XADD', settled, 'MAXLEN', '~', a.most_noted, '*', 'entry', id, 'record', record)
end
redis.call('HDEL', crashes, id)
local function count(what, n) redis.call('HINCRBY', ledger, origin.feed .. '|' .. what, whole(n)) end
if a.loaded > 0 then count('loaded', a.loaded) end
if #a.dead > 0 then count('dead_lettered', dead_samples) end
for reason, n in pairs(a.drops) do count('dropped|' .. reason, n) end
if counts_window and redis.call('HINCRBY', unsettled, origin.window, outputs - 1) <= 0 then
  redis.call('HDEL', unsettled, origin.window)
  redis.call('HDEL', committed, origin.window)
end
return 'ok'
