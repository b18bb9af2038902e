-- Bytes in flight (both streams and what is staged), as Redis' memory has them, against the marks, with hysteresis.
-- Returns {'1' while extraction must pause else '0', bytes}.
--
-- KEYS 1 back-pressure, 2 staged, 3 raw in flight, 4 points in flight
-- ARGV 1 high-water mark (bytes), 2 low-water mark (bytes), 3 now (ms; '' = the server's clock), 4 most growth
--
-- What is raw or staged takes more once it is transformed, and nothing stops that: it is counted as if a point of it
-- took what the points in flight take. An odd entry among those says little of others, so the growth has a limit.
-- The flag is shared, so that every extractor pauses and resumes at the same marks.
local function held(in_flight)
  local samples, bytes = 0, 0
  for _, value in ipairs(redis.call('HVALS', in_flight)) do
    local of_entry, size = string.match(value, '^(%d+) (%d+) ')
    if size then
      samples = samples + tonumber(of_entry)
      bytes = bytes + allocated(tonumber(size))
    end
  end
  return samples, bytes
end

local now = clock_ms(ARGV[3])
local raw_samples, raw_bytes = held(KEYS[3])
local point_samples, point_bytes = held(KEYS[4])
local growth = 1
if raw_bytes > 0 and point_samples > 0 then
  growth = math.max(1, math.min(tonumber(ARGV[4]), point_bytes / point_samples * raw_samples / raw_bytes))
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  raw_bytes = raw_bytes + allocated(tonumber(string.match(member, ' (%d+)$')) or 0)
end
local bytes = point_bytes + math.ceil(raw_bytes * growth)
local paused = redis.call('EXISTS', KEYS[1]) == 1
if paused and bytes <= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  paused = false
elseif not paused and bytes >= tonumber(ARGV[1]) then
  redis.pcall('SET', KEYS[1], '1')
  paused = true
end
return {paused and '1' or '0', bytes}
