-- Put a range of a feed back into its backlog, to be extracted (again): late samples, a repair, or
-- time before the feed's origin. What is open or in the backlog already is left as it is.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks
-- a    fingerprint, start_ms, end_ms, extend (the feed may be extended back to the start),
--      done (rechecks that are done with it), round (recounts that the range had)
-- Returns how many ms were put back, or nil when another configuration owns the feed.
local feed, windows, rechecks = KEYS[1], KEYS[2], KEYS[4]
if redis.call('HGET', feed, 'fingerprint') ~= a.fingerprint then return false end
local origin = tonumber(redis.call('HGET', feed, 'origin_ms'))
local head = tonumber(redis.call('HGET', feed, 'head_ms'))
if a.extend then origin = math.min(origin, a.start_ms) end
local from, to = math.max(a.start_ms, origin), math.min(a.end_ms, head)

local ranges, taken = ranges_of(feed, 'ranges'), open_ranges(windows)
for _, range in ipairs(ranges) do taken[#taken + 1] = range end
for _, range in ipairs(ranges_of(feed, 'deferred')) do taken[#taken + 1] = range end
table.sort(taken, function(left, right) return left[1] < right[1] end)

local added, cursor = 0, from
local function add(first, last)
  if first < last then
    ranges[#ranges + 1] = {first, last, a.round > 0 and a.round or nil}
    added = added + last - first
  end
end
for _, range in ipairs(taken) do
  add(cursor, math.min(range[1], to))
  cursor = math.max(cursor, range[2])
  if cursor >= to then break end
end
add(cursor, to)

redis.call('HSET', feed, 'ranges', ranges_json(ranges), 'origin_ms', whole(origin))
for _, recheck in ipairs(a.done) do redis.call('ZREM', rechecks, recheck) end
return added
