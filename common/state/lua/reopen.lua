-- Put a range of a feed back into its backlog, to be extracted (again): late samples, a repair, or
-- time before the feed's origin that turned out to be owed. What is open or in the backlog already
-- is left as it is.
-- Returns how many ms were put back, or -1 when another configuration owns the feed.
--
-- KEYS 1 feed, 2 open windows, 3 rechecks
-- ARGV 1 fingerprint, 2 start (ms), 3 end (ms), 4 '1' = the feed may be extended back to the start,
--      5.. rechecks that are done with it
local feed, windows = KEYS[1], KEYS[2]
local from, to = tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('HGET', feed, 'fingerprint') ~= ARGV[1] then return -1 end
local origin = tonumber(redis.call('HGET', feed, 'origin_ms'))
local head = tonumber(redis.call('HGET', feed, 'head_ms'))
if ARGV[4] == '1' then
  origin = math.min(origin, from)
end
from, to = math.max(from, origin), math.min(to, head)

local ranges = cjson.decode(redis.call('HGET', feed, 'ranges') or '[]')
local taken = {}
for _, range in ipairs(ranges) do taken[#taken + 1] = range end
for _, json in ipairs(redis.call('HVALS', windows)) do
  local window = cjson.decode(json)
  taken[#taken + 1] = {window.s, window.e}
end
table.sort(taken, function(a, b) return a[1] < b[1] end)

local added, cursor = 0, from
local function add(first, last)
  if first < last then
    ranges[#ranges + 1] = {first, last}
    added = added + last - first
  end
end
for _, range in ipairs(taken) do
  add(cursor, math.min(range[1], to))
  cursor = math.max(cursor, range[2])
  if cursor >= to then break end
end
add(cursor, to)

redis.call('HSET', feed, 'ranges', ranges_json(merge(ranges)),
  'origin_ms', whole(origin))
for i = 5, #ARGV do redis.call('ZREM', KEYS[3], ARGV[i]) end
return added
