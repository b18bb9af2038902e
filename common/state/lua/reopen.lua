-- Put a range of a feed back into its backlog, to be extracted (again): late samples, a repair, or
-- time before the feed's origin. What is open or in the backlog already is left as it is.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 configurations that were in force
-- a    fingerprint, start_ms, end_ms, extend (the feed may be extended back to the start),
--      done (rechecks that are done with it), round (recounts that the range had)
-- Returns how many ms were put back, or nil when another configuration owns the feed, or when somebody else has opened it
-- for the same recheck.
local feed, windows, rechecks = KEYS[1], KEYS[2], KEYS[4]
if redis.call('HGET', feed, 'fingerprint') ~= a.fingerprint then return false end
local waits = #a.done == 0
for _, recheck in ipairs(a.done) do
  if redis.call('ZSCORE', rechecks, recheck) then waits = true end
end
if not waits then return false end
local origin = tonumber(redis.call('HGET', feed, 'origin_ms'))
local head = tonumber(redis.call('HGET', feed, 'head_ms'))
if a.extend then origin = math.min(origin, a.start_ms) end
local from, to = math.max(a.start_ms, origin), math.min(a.end_ms, head)

local ranges, added = ranges_of(feed, 'ranges'), 0
local opened = without({{from, math.max(from, to)}}, to_extract(feed, windows))
for _, range in ipairs(opened) do
  ranges[#ranges + 1] = {range[1], range[2], a.round > 0 and a.round or nil}
  added = added + range[2] - range[1]
end
note_to_do(KEYS[5], opened)
note_reopened(feed, opened)
redis.call('HSET', feed, 'ranges', ranges_json(ranges), 'origin_ms', whole(origin))
for _, recheck in ipairs(a.done) do redis.call('ZREM', rechecks, recheck) end
return added
