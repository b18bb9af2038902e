-- Close a feed that no configuration plans any more: its backlog becomes declared gaps. That of a part of a backfill,
-- of which nothing was promised, counts as cancelled in the same step: else it would seem to be extracted.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 feeds, 6 watermarks read from the sink, of a part of a
--      backfill 7 that
-- a    feed, unplanned_ms (nobody planned it for at least so long), reason
-- Returns {{start, end}, …} of what was not extracted yet, or nil when somebody planned it lately.
local feed, windows, gaps, rechecks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = clock_ms()
local planned = tonumber(redis.call('HGET', feed, 'planned_ms')) or 0
-- Redis' clock went back: the time is counted from now.
if planned > now then redis.pcall('HSET', KEYS[1], 'planned_ms', whole(now)) end
if now - planned < a.unplanned_ms then return false end
local backlog = ranges_of(feed, 'ranges')
for _, range in ipairs(ranges_of(feed, 'deferred')) do backlog[#backlog + 1] = range end
for _, range in ipairs(open_ranges(windows)) do backlog[#backlog + 1] = range end
table.sort(backlog, function(left, right) return left[1] < right[1] end)
local left = 0
for _, range in ipairs(backlog) do
  left = left + range[2] - range[1]
  if not KEYS[7] then declare_gap(gaps, range[1], range[2], a.reason, now) end
end
if KEYS[7] then redis.call('DEL', gaps) end
redis.call('DEL', feed, windows, rechecks)
redis.call('HDEL', KEYS[6], a.feed)
redis.call('SREM', KEYS[5], a.feed)
if KEYS[7] and left > 0 then redis.call('HINCRBY', KEYS[7], 'cancelled_ms', whole(left)) end
return backlog
