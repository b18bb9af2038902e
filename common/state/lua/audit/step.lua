-- One step of the audit: at most so many entries are looked at, because Redis serves nobody else meanwhile. The first
-- step also reads the ledger, and what the streams are at that instant; common/state/audit.py puts the steps together.
--
-- KEYS 1 ledger, 2 staged, 3 back-pressure, 4 dead letters, 5 their records, then for each stream:
--      stream, in flight, settled of late; last the dead letters that are only counted
-- a    group, streams (their names), most (entries), cursors = {name: {after, upto}}, of the streams that are not
--      walked yet (in the first step it is left out)
-- Returns JSON: {pages = {name: {feeds = {feed: samples}, samples, bytes, lost_samples = {feed: samples}, recorded
-- (entries that have a record), unaccounted_entries, unaccounted_samples, after (where to go on, unless the stream
-- has ended), settled (the newest of `settled of late`)}}}; of the first step also {now_ms, ledger = {field: samples},
-- heads = {name: {entries, records, upto, settled, oldest_ms}}, staged_bytes, dead_letter_entries, dead_records_differ,
-- back_pressure}.
--
-- Entries are metadata, so walking them is cheap: payloads are only checked for existence.

-- A point in a stream as two numbers.
local function id_of(text)
  local ms, seq = string.match(text, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function newest(stream)
  local found = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return found[1] and found[1][1]
end

-- Which of `ids` (a part of a stream, in order) the group has delivered and that are pending no more: nobody will
-- ever be given them again, so they are lost although they lie there.
local function stranded_among(stream, ids)
  local stranded, groups = {}, redis.pcall('XINFO', 'GROUPS', stream)
  local group
  for _, flat in ipairs(groups.err and {} or groups) do
    local found = pairs_of(flat)
    if found.name == a.group then group = found end
  end
  if not group then return stranded end
  local last_ms, last_seq = id_of(group['last-delivered-id'])
  local any = false
  for _, id in ipairs(ids) do
    local ms, seq = id_of(id)
    if ms > last_ms or (ms == last_ms and seq > last_seq) then break end
    stranded[id], any = true, true
  end
  local start = any and ids[1]
  while start do
    local page = redis.call('XPENDING', stream, a.group, start, ids[#ids], a.most)
    for _, pending in ipairs(page) do stranded[pending[1]] = nil end
    start = #page == a.most and '(' .. page[#page][1]
  end
  return stranded
end

local function walk(stream, in_flight, after, upto, most)
  local page = {feeds = {}, samples = 0, bytes = 0, lost_samples = {}, recorded = 0,
    unaccounted_entries = 0, unaccounted_samples = 0}
  local entries, ids = redis.call('XRANGE', stream, after, upto, 'COUNT', most), {}
  if #entries == 0 then return page, 0 end
  for i, entry in ipairs(entries) do ids[i] = entry[1] end
  if #ids == most then page.after = ids[#ids] end
  local stranded = stranded_among(stream, ids)
  local records = redis.call('HMGET', in_flight, unpack(ids))
  for i, id in ipairs(ids) do
    if records[i] then
      local samples, bytes, feed, _, key = unpack_record(records[i])
      local of_feed = page.lost_samples
      if not key then
        samples, feed = 0, '?'
      elseif not stranded[id] and redis.call('EXISTS', key) == 1 then
        page.samples, page.bytes, of_feed = page.samples + samples, page.bytes + bytes, page.feeds
      end
      of_feed[feed] = (of_feed[feed] or 0) + samples
      page.recorded = page.recorded + 1
    else
      page.unaccounted_entries = page.unaccounted_entries + 1
      page.unaccounted_samples = page.unaccounted_samples + (count_of(pairs_of(entries[i][2]).samples) or 0)
    end
  end
  return page, #ids
end

local found, cursors, left = {pages = {}}, a.cursors, a.most
if not cursors then
  local now = clock_ms()
  cursors, found.heads, found.staged_bytes, found.now_ms = {}, {}, 0, whole(now)
  for i, name in ipairs(a.streams) do
    local stream = KEYS[3 + 3 * i]
    local oldest, upto = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1), newest(stream)
    found.heads[name] = {entries = redis.call('XLEN', stream), records = redis.call('HLEN', KEYS[4 + 3 * i]),
      upto = upto, settled = newest(KEYS[5 + 3 * i]), oldest_ms = oldest[1] and id_of(oldest[1][1]) or 0}
    if upto then cursors[name] = {'-', upto} end
  end
  for _, size in ipairs(staged_sizes(KEYS[2], now)) do found.staged_bytes = found.staged_bytes + size end
  found.ledger = pairs_of(redis.call('HGETALL', KEYS[1]))
  found.dead_letter_entries = redis.call('XLEN', KEYS[4]) + redis.call('HLEN', KEYS[#KEYS])
  found.dead_records_differ = found.dead_letter_entries ~= redis.call('HLEN', KEYS[5])
  found.back_pressure = redis.call('EXISTS', KEYS[3]) == 1
end
for i, name in ipairs(a.streams) do
  local cursor, stream = cursors[name], KEYS[3 + 3 * i]
  if cursor and left > 0 then
    local page, entries = walk(stream, KEYS[4 + 3 * i], cursor[1], cursor[2], left)
    page.settled, left = newest(KEYS[5 + 3 * i]), left - entries
    found.pages[name] = page
  end
end
return cjson.encode(found)
