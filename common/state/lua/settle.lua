-- Hand-off of one entry: write its outputs and dead letters, take it away, count its samples.
--
-- KEYS 1..4 stream, its in-flight records, crashes, released, 5 outbound stream, 6 its in-flight records,
--      7 dead letters, 8 their records, 9 ledger, 10 unsettled, 11 committed,
--      12 how many dead letters of each group are kept, 13 those that are only counted,
--      14 the entry's payload (where it names none of ours, a key that does not exist),
--      15.. new payloads: one for each output (which was put there), then one for each dead letter, or the keys of what is
--      extracted again (common/state/again.py); the last four are what was
--      settled of late, the seals that are not settled, those that are due, sums of what was replayed
-- a    group, consumer, entry (id), samples (that the entry itself claims), query, tier, kind, window, stage,
--      loaded, drops ({reason = samples}), outputs ({{samples, bytes}, …}), dead ({{reason, detail, samples, measurement}, …}), max_dead,
--      sample (dead letters of a group that are kept; further ones are only counted, by window; 0 = all are kept),
--      most_noted (of what was settled of late), digest (of what was loaded; none: not known), digests (of each output;
--      '' = not known), start_ms and end_ms (of its window, as the entry says them; an older version's does not), replayed,
--      again (the entry's window is to be extracted again, for its payload is lost: common/state/again.py)
-- ARGV 2.. the new payloads of dead letters, in the order of their keys
-- Returns ok, refused (not pending with the caller, or its window is not known any more, so that it cannot be
-- extracted again), mismatch (the verdict does not account for every sample),
-- dead_full, wrong_type (a key holds something else) or unstaged (the payload of an output is not there).
--
-- A script does not roll back, so everything is read and checked before the first write. Where there
-- is something to write, the first write adds memory, so that a server at maxmemory refuses the whole
-- script; where there is not, it is XACK, so that the loader can always free memory.
local inbound, in_flight, crashes, outbound, out_flight, dead, dead_records, ledger, unsettled, committed =
  KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local dead_kept, dead_counted, settled = KEYS[12], KEYS[13], KEYS[#KEYS - 3]
local seals, seals_due, seals_replayed = KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local id, outputs = a.entry, #a.outputs
local MOST_WINDOWS = 200

if not have_types({[outbound] = 'stream', [out_flight] = 'hash', [crashes] = 'hash', [dead] = 'stream',
    [dead_records] = 'hash', [ledger] = 'hash', [unsettled] = 'hash', [committed] = 'hash',
    [dead_kept] = 'hash', [dead_counted] = 'hash', [settled] = 'stream', [seals] = 'hash', [seals_due] = 'hash',
    [seals_replayed] = 'hash'}) then
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
  feed = feed or a.query .. '@' .. a.tier, start_ms = a.start_ms, end_ms = a.end_ms, replayed = a.replayed}

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
for _, output in ipairs(a.outputs) do sum = sum + output[1] end
for _, n in pairs(a.drops) do sum = sum + n end
for _, letter in ipairs(a.dead) do dead_samples = dead_samples + letter[3] end
if sum + dead_samples ~= samples then return 'mismatch' end

-- Which dead letters are kept, and which are only counted. Those whose window is not known (it was settled long
-- ago) are kept: by its window alone can a counted one be extracted again.
local of_feed, first_ms, last_ms =
  string.match(redis.call('HGET', committed, origin.window) or '', '^(%S+) (%d+) (%d+)$')
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
-- Once, however many entries of the window are lost.
local opened_again, open_again = origin.window .. ' again', nil
if a.again and redis.call('HEXISTS', unsettled, opened_again) == 0 then
  if not first_ms or of_feed ~= a.again.feed then return 'refused' end
  local keys = {unpack(KEYS, 15, #KEYS - 4)}
  local why_not
  open_again, why_not = extracted_again(keys, a.again, {{tonumber(first_ms), tonumber(last_ms)}})
  if not open_again then return why_not or 'refused' end
end
for i = 1, outputs do
  if redis.call('EXISTS', KEYS[14 + i]) == 0 then return 'unstaged' end
end

for i, output in ipairs(a.outputs) do
  append_entry(outbound, out_flight, origin, output[1], output[2], KEYS[14 + i], a.digests[i])
  redis.call('PERSIST', KEYS[14 + i])
end
local function keep(i, letter)
  local key = KEYS[14 + outputs + i]
  redis.call('SET', key, ARGV[1 + i])
  local fields = {'schema', '1', 'stage', a.stage, 'reason', letter[1],
    'detail', letter[2], 'query', a.query, 'tier', a.tier, 'kind', a.kind, 'window', origin.window, 'feed', origin.feed,
    'entry', id, 'samples', whole(letter[3]), 'at_ms', whole(clock_ms()), 'measurement', letter[4], 'payload', key}
  if a.start_ms then
    for _, value in ipairs({'start_ms', whole(a.start_ms), 'end_ms', whole(a.end_ms)}) do fields[#fields + 1] = value end
  end
  local letter_id = redis.call('XADD', dead, '*', unpack(fields))
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
if open_again then
  open_again()
  redis.call('HSET', unsettled, opened_again, 1)
end
local function count(what, n) redis.call('HINCRBY', ledger, origin.feed .. '|' .. what, whole(n)) end
if a.loaded > 0 then count('loaded', a.loaded) end
if #a.dead > 0 then count('dead_lettered', dead_samples) end
for reason, n in pairs(a.drops) do count('dropped|' .. reason, n) end

-- Digests, each of two sums modulo 2^64; Lua can add 32 bits of them at a time.
local function added(left, right)
  local sum, carry = {}, 0
  for i = 4, 1, -1 do
    if i % 2 == 0 then carry = 0 end
    local first, last = 8 * i - 7, 8 * i
    local n = tonumber(string.sub(left, first, last), 16) + tonumber(string.sub(right, first, last), 16) + carry
    carry = math.floor(n / 4294967296)
    sum[i] = string.format('%08x', n % 4294967296)
  end
  return table.concat(sum)
end
local function with_loaded(points, digest)
  if a.loaded ~= 0 then digest = a.digest and digest ~= UNKNOWN and added(digest, a.digest) or UNKNOWN end
  if digest == UNKNOWN then return 0, UNKNOWN end
  return points + a.loaded, digest
end
-- What an older version settles, or hands on, is in no seal. It shows: by entries that do not say the bounds of their
-- window, or by other entries being left than the seal has counted.
local function settle_seal(left)
  local field = seal_field(origin.feed, last_ms)
  local record = redis.call('HGET', seals, field)
  local window, entries, committed_ms, points, digest = unpack_seal(record)
  if window and window ~= origin.window or not record and a.start_ms then return end -- extracted again meanwhile
  if not a.start_ms or entries ~= left - (outputs - 1) then
    points, digest = 0, UNKNOWN
  end
  points, digest = with_loaded(points, digest)
  if left > 0 then
    redis.call('HSET', seals, field, pack_seal(origin.window, left, committed_ms or clock_ms(), points, digest))
  else
    redis.call('HDEL', seals, field)
    local due = due_seal(first_ms, points, digest, committed_ms or clock_ms(), origin.window)
    redis.call('HSET', seals_due, field, due)
  end
end
-- Of a window that is settled: what is replayed of it has a seal of its own, the sum of all of it.
local function add_replayed()
  local field = seal_field(origin.feed, a.end_ms)
  local window, _, _, points, digest = unpack_seal(redis.call('HGET', seals_replayed, field))
  if window and window ~= origin.window then
    points, digest = 0, UNKNOWN
  end
  points, digest = with_loaded(points or 0, digest or NO_DIGEST)
  redis.call('HSET', seals_replayed, field, pack_seal(origin.window, 0, clock_ms(), points, digest))
  redis.call('HSET', seals_due, field .. ' replay', due_seal(a.start_ms, points, digest, clock_ms(), origin.window))
end
if counts_window then
  local left = redis.call('HINCRBY', unsettled, origin.window, outputs - 1)
  if left <= 0 then
    redis.call('HDEL', unsettled, origin.window, opened_again)
    redis.call('HDEL', committed, origin.window)
  end
  if first_ms then settle_seal(left) end
elseif a.replayed and a.start_ms and a.loaded > 0 then
  add_replayed()
end
return 'ok'
