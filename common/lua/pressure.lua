-- Bytes in flight (both streams and what is staged), as Redis' memory has them, against the marks, with hysteresis.
-- Returns {'1' while extraction must pause else '0', bytes}.
--
-- KEYS 1 back-pressure, 2 staged, 3.. in-flight hashes
-- ARGV 1 high-water mark (bytes), 2 low-water mark (bytes), 3 now (ms; '' = the server's clock)
--
-- The flag is shared, so that every extractor pauses and resumes at the same marks.
local now = clock_ms(ARGV[3])
local bytes = 0
for i = 3, #KEYS do
  for _, value in ipairs(redis.call('HVALS', KEYS[i])) do
    bytes = bytes + allocated(tonumber(string.match(value, '^%d+ (%d+) ')) or 0)
  end
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  bytes = bytes + allocated(tonumber(string.match(member, ' (%d+)$')) or 0)
end
local paused = redis.call('EXISTS', KEYS[1]) == 1
if paused and bytes <= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  paused = false
elseif not paused and bytes >= tonumber(ARGV[1]) then
  redis.pcall('SET', KEYS[1], '1')
  paused = true
end
return {paused and '1' or '0', bytes}
