-- One atomic read of the books and of what is really there.
-- Returns JSON: {ledger = {field: samples}, streams = {name: {…}}, staged_bytes, back_pressure}.
--
-- KEYS 1 ledger, 2 staged, 3 back-pressure, 4 dead letters, then for each stream: stream, in-flight
-- ARGV 1 now (ms; '' = the server's clock), 2.. stream names
--
-- Entries are metadata, so walking the streams is cheap: payloads are only asked for existence.
local now = clock_ms(ARGV[1])
local streams = {}
for s = 2, #ARGV do
  local stream, in_flight = KEYS[2 * s + 1], KEYS[2 * s + 2]
  local booked = pairs_of(redis.call('HGETALL', in_flight))
  local here = {entries = 0, samples = 0, bytes = 0, lost = {}, unbooked = 0, unbooked_samples = 0,
    lanes = {}, oldest_ms = 0}
  local seen = {}
  local cursor = '-'
  while true do
    local page = redis.call('XRANGE', stream, cursor, '+', 'COUNT', 500)
    for _, entry in ipairs(page) do
      local id = entry[1]
      seen[id] = true
      here.entries = here.entries + 1
      if here.oldest_ms == 0 then here.oldest_ms = tonumber(string.match(id, '^(%d+)')) end
      if not booked[id] then
        here.unbooked = here.unbooked + 1
        here.unbooked_samples = here.unbooked_samples + (tonumber(pairs_of(entry[2]).samples) or 0)
      end
    end
    if #page < 500 then break end
    cursor = '(' .. page[#page][1]
  end
  for id, value in pairs(booked) do
    local samples, bytes, lane, key = string.match(value, '^(%d+) (%d+) (%S+) %S+ (%S+)$')
    local n = tonumber(samples) or 0
    lane = lane or '?'
    if seen[id] and key and redis.call('EXISTS', key) == 1 then
      here.samples = here.samples + n
      here.bytes = here.bytes + tonumber(bytes)
      here.lanes[lane] = (here.lanes[lane] or 0) + n
    else
      here.lost[lane] = (here.lost[lane] or 0) + n
    end
  end
  streams[ARGV[s]] = here
end
local staged = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  staged = staged + (tonumber(string.match(member, ' (%d+)$')) or 0)
end
return cjson.encode({
  now_ms = whole(now),
  ledger = pairs_of(redis.call('HGETALL', KEYS[1])),
  streams = streams,
  staged_bytes = staged,
  dead_letters = redis.call('XLEN', KEYS[4]),
  back_pressure = redis.call('EXISTS', KEYS[3]) == 1,
})
