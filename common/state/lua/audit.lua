-- One atomic read of the ledger and of what is really there.
--
-- KEYS 1 ledger, 2 staged, 3 back-pressure, 4 dead letters, 5 their records, then for each stream:
--      stream, in flight; last the dead letters that are only counted
-- a    group, streams (their names)
-- Returns JSON: {now_ms, ledger = {field: samples}, streams = {name: {entries, samples, bytes, oldest_ms, feeds,
-- lost_samples, unaccounted_entries, unaccounted_samples}}, staged_bytes, dead_letter_entries,
-- deleted_dead_samples = {feed: samples}, back_pressure}.
--
-- Entries are metadata, so walking the streams is cheap: payloads are only checked for existence.
local PAGE = 500

-- A point in a stream as two numbers.
local function id_of(text)
  local ms, seq = string.match(text, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Calls `visit` with each item of a reply that is read in pages; `read` is given where one begins.
local function each(read, visit)
  local start = '-'
  while true do
    local page = read(start)
    for _, item in ipairs(page) do visit(item[1], item[2]) end
    if #page < PAGE then return end
    start = '(' .. page[#page][1]
  end
end
local function each_entry(stream, visit)
  each(function(start) return redis.call('XRANGE', stream, start, '+', 'COUNT', PAGE) end, visit)
end

-- Removes from `seen`, which has all `ids` of a stream (in order), those that its group has delivered and that
-- are pending no more: nobody will ever be given them again, so they are lost although they lie there.
local function remove_stranded(stream, ids, seen)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return end
  local group
  for _, flat in ipairs(groups) do
    local found = pairs_of(flat)
    if found.name == a.group then group = found end
  end
  if not group then return end
  local last_ms, last_seq = id_of(group['last-delivered-id'])
  local delivered, undelivered = 0, #ids + 1
  while delivered + 1 < undelivered do
    local middle = math.floor((delivered + undelivered) / 2)
    local ms, seq = id_of(ids[middle])
    if ms < last_ms or (ms == last_ms and seq <= last_seq) then delivered = middle else undelivered = middle end
  end
  if delivered <= group.pending then return end
  local pending = {}
  each(function(start) return redis.call('XPENDING', stream, a.group, start, '+', PAGE) end,
    function(id) pending[id] = true end)
  for i = 1, delivered do
    if not pending[ids[i]] then seen[ids[i]] = nil end
  end
end

local function depth_of(stream, in_flight)
  local records, ids, seen = pairs_of(redis.call('HGETALL', in_flight)), {}, {}
  local depth = {samples = 0, bytes = 0, feeds = {}, lost_samples = {},
    unaccounted_entries = 0, unaccounted_samples = 0}
  each_entry(stream, function(id, fields)
    ids[#ids + 1], seen[id] = id, true
    if not records[id] then
      depth.unaccounted_entries = depth.unaccounted_entries + 1
      depth.unaccounted_samples = depth.unaccounted_samples + (count_of(pairs_of(fields).samples) or 0)
    end
  end)
  depth.entries, depth.oldest_ms = #ids, ids[1] and id_of(ids[1]) or 0
  remove_stranded(stream, ids, seen)
  for id, record in pairs(records) do
    local samples, bytes, feed, _, key = unpack_record(record)
    local of_feed = depth.lost_samples
    if not key then
      samples, feed = 0, '?'
    elseif seen[id] and redis.call('EXISTS', key) == 1 then
      depth.samples, depth.bytes = depth.samples + samples, depth.bytes + bytes
      of_feed = depth.feeds
    end
    of_feed[feed] = (of_feed[feed] or 0) + samples
  end
  return depth
end

-- Samples, by feed, whose dead letter was deleted. There may be many dead letters, so they are only walked where their
-- number is not that of the records.
local function deleted_dead_samples(dead, dead_records, dead_counted)
  local deleted = {}
  if redis.call('XLEN', dead) + redis.call('HLEN', dead_counted) == redis.call('HLEN', dead_records) then return deleted end
  local records = pairs_of(redis.call('HGETALL', dead_records))
  each_entry(dead, function(id) records[id] = nil end)
  for _, group in ipairs(redis.call('HKEYS', dead_counted)) do records[group] = nil end
  for _, record in pairs(records) do
    local samples, feed = string.match(record, '^(%d+) (.*)$')
    deleted[feed or '?'] = (deleted[feed or '?'] or 0) + (count_of(samples) or 0)
  end
  return deleted
end

local now = clock_ms()
local streams, staged_bytes = {}, 0
for i, name in ipairs(a.streams) do streams[name] = depth_of(KEYS[4 + 2 * i], KEYS[5 + 2 * i]) end
for _, size in ipairs(staged_sizes(KEYS[2], now)) do staged_bytes = staged_bytes + size end
return cjson.encode({
  now_ms = whole(now),
  ledger = pairs_of(redis.call('HGETALL', KEYS[1])),
  streams = streams,
  staged_bytes = staged_bytes,
  dead_letter_entries = redis.call('XLEN', KEYS[4]) + redis.call('HLEN', KEYS[#KEYS]),
  deleted_dead_samples = deleted_dead_samples(KEYS[4], KEYS[5], KEYS[#KEYS]),
  back_pressure = redis.call('EXISTS', KEYS[3]) == 1,
})
