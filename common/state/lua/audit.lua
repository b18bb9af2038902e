-- One atomic read of the books and of what is really there.
-- Returns JSON: {ledger = {field: samples}, streams = {name: {…}}, staged_bytes, back_pressure}.
--
-- KEYS 1 ledger, 2 staged, 3 back-pressure, 4 dead letters, 5 held dead letters, then for each stream:
--      stream, in-flight
-- ARGV 1 now (ms; '' = the server's clock), 2 group, 3.. stream names
--
-- Entries are metadata, so walking the streams is cheap: payloads are only asked for existence.

-- A point in a stream as two numbers.
local function id_of(text)
  local ms, seq = string.match(text, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Forgets, of the ids `seen` in a stream, those that its group has delivered and that are pending
-- no more: nobody will ever be given them again, so they are lost although they lie there.
local function forget_stranded(stream, group, seen)
  local last_ms, last_seq, held
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return end
  for _, flat in ipairs(groups) do
    local info = pairs_of(flat)
    if info.name == group then
      last_ms, last_seq = id_of(info['last-delivered-id'])
      held = info.pending
    end
  end
  if not held then return end
  local delivered = {}
  for id in pairs(seen) do
    local ms, seq = id_of(id)
    if ms < last_ms or (ms == last_ms and seq <= last_seq) then delivered[#delivered + 1] = id end
  end
  if #delivered <= held then return end
  local pending, cursor = {}, '-'
  while true do
    local page = redis.call('XPENDING', stream, group, cursor, '+', 500)
    for _, entry in ipairs(page) do pending[entry[1]] = true end
    if #page < 500 then break end
    cursor = '(' .. page[#page][1]
  end
  for _, id in ipairs(delivered) do
    if not pending[id] then seen[id] = nil end
  end
end

local now = clock_ms(ARGV[1])
local streams = {}
for s = 3, #ARGV do
  local stream, in_flight = KEYS[2 * s], KEYS[2 * s + 1]
  local booked = pairs_of(redis.call('HGETALL', in_flight))
  local here = {entries = 0, samples = 0, bytes = 0, lost = {}, unbooked = 0, unbooked_samples = 0,
    feeds = {}, oldest_ms = 0}
  local seen = {}
  local cursor = '-'
  while true do
    local page = redis.call('XRANGE', stream, cursor, '+', 'COUNT', 500)
    for _, entry in ipairs(page) do
      local id = entry[1]
      seen[id] = true
      here.entries = here.entries + 1
      if here.oldest_ms == 0 then here.oldest_ms = id_of(id) end
      if not booked[id] then
        here.unbooked = here.unbooked + 1
        here.unbooked_samples = here.unbooked_samples + (count_of(pairs_of(entry[2]).samples) or 0)
      end
    end
    if #page < 500 then break end
    cursor = '(' .. page[#page][1]
  end
  forget_stranded(stream, ARGV[2], seen)
  for id, value in pairs(booked) do
    local samples, bytes, feed, key = string.match(value, '^(%d+) (%d+) (%S+) %S+ (%S+)$')
    local n = count_of(samples) or 0
    feed = feed or '?'
    if seen[id] and key and redis.call('EXISTS', key) == 1 then
      here.samples = here.samples + n
      here.bytes = here.bytes + (count_of(bytes) or 0)
      here.feeds[feed] = (here.feeds[feed] or 0) + n
    else
      here.lost[feed] = (here.lost[feed] or 0) + n
    end
  end
  streams[ARGV[s]] = here
end
local staged = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  staged = staged + (tonumber(string.match(member, ' (%d+)$')) or 0)
end
-- Letters that are held and gone, by feed. They may be many, so they are only walked where their
-- numbers differ.
local gone = {}
if redis.call('XLEN', KEYS[4]) ~= redis.call('HLEN', KEYS[5]) then
  local held, from = pairs_of(redis.call('HGETALL', KEYS[5])), '-'
  while true do
    local page = redis.call('XRANGE', KEYS[4], from, '+', 'COUNT', 500)
    for _, letter in ipairs(page) do held[letter[1]] = nil end
    if #page < 500 then break end
    from = '(' .. page[#page][1]
  end
  for _, value in pairs(held) do
    local samples, feed = string.match(value, '^(%d+) (.*)$')
    gone[feed or '?'] = (gone[feed or '?'] or 0) + (count_of(samples) or 0)
  end
end
return cjson.encode({
  now_ms = whole(now),
  ledger = pairs_of(redis.call('HGETALL', KEYS[1])),
  streams = streams,
  staged_bytes = staged,
  dead_letters = redis.call('XLEN', KEYS[4]),
  gone_dead = gone,
  back_pressure = redis.call('EXISTS', KEYS[3]) == 1,
})
