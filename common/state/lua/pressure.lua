-- Bytes in flight (both streams and what is staged), as Redis' memory has them, against the marks, with hysteresis.
--
-- KEYS 1 back-pressure, 2 staged, 3 raw in flight, 4 points in flight
-- a    high_water_bytes, low_water_bytes, most_growth, most_entries (that are looked at of each stream)
-- Returns {1 while extraction must pause else 0, bytes}.
--
-- What is raw or staged takes more once it is transformed, and nothing stops that: it is counted as if a point of it
-- took what the points in flight take. An odd entry among those says little of others, so the growth has a limit.
-- Of very many entries some are drawn, others each time, as Redis serves nobody else meanwhile; the sum is then taken
-- for as large as it may be.
-- The flag is shared, so that every extractor pauses and resumes at the same marks.

-- What Redis' memory grows by for so many bytes: jemalloc hands out blocks of certain sizes, four to each
-- power of two (https://jemalloc.net/jemalloc.3.html, size classes). Its twin is in tests/doubles/size_classes.py.
local function allocated(bytes)
  if bytes <= 16 then return 16 end
  local _, bits = math.frexp(bytes - 1)
  local step = math.max(16, 2 ^ (bits - 3))
  return math.ceil(bytes / step) * step
end

local function total_of(in_flight)
  local entries, records = redis.call('HLEN', in_flight), nil
  if entries > a.most_entries then
    records = {}
    local drawn = redis.call('HRANDFIELD', in_flight, a.most_entries, 'WITHVALUES')
    for i = 2, #drawn, 2 do records[#records + 1] = drawn[i] end
  else
    records = redis.call('HVALS', in_flight)
  end
  local samples, bytes, squares = 0, 0, 0
  for _, record in ipairs(records) do
    local of_entry, size = sizes_of_record(record)
    size = size > 0 and allocated(size) or 0
    samples, bytes, squares = samples + of_entry, bytes + size, squares + size * size
  end
  if entries <= #records then return samples, bytes end
  -- Two standard errors of the mean above it.
  local mean = bytes / #records
  local error_of_mean = math.sqrt(math.max(0, squares / #records - mean * mean) / #records)
  return samples / #records * entries, math.ceil((mean + 2 * error_of_mean) * entries)
end

local raw_samples, raw_bytes = total_of(KEYS[3])
local point_samples, point_bytes = total_of(KEYS[4])
local growth = 1
if raw_bytes > 0 and point_samples > 0 then
  growth = math.max(1, math.min(a.most_growth, point_bytes / point_samples * raw_samples / raw_bytes))
end
for _, size in ipairs(staged_sizes(KEYS[2], clock_ms())) do raw_bytes = raw_bytes + allocated(size) end
local bytes = point_bytes + math.ceil(raw_bytes * growth)
local paused = redis.call('EXISTS', KEYS[1]) == 1
if paused and bytes <= a.low_water_bytes then
  redis.call('DEL', KEYS[1])
  paused = false
elseif not paused and bytes >= a.high_water_bytes then
  redis.pcall('SET', KEYS[1], '1')
  paused = true
end
return {paused and 1 or 0, bytes}
