-- Begin a feed's part of a backfill: time before the feed's origin that is to be extracted.
--
-- KEYS 1 feed, 2 configurations that were in force, 3 backfill, 4 ids of backfills, 5 parts of backfills, 6 part
-- a    fingerprint, id, part (its name), ranges ({start, end} in ms, at least one), fields (of the backfill, as a list of
--      names and values), configured (it is the one that the configuration asks for, which is begun once)
-- Returns how many ms were taken: 0 where none of it lies before the origin, or the configured one was begun already;
-- nil when another configuration owns the feed, or the sink's watermark of it is not known yet.
local feed, history, backfill, ids, parts, part = unpack(KEYS)
local owner, origin, reconciled = unpack(redis.call('HMGET', feed, 'fingerprint', 'origin_ms', 'reconciled'))
if owner ~= a.fingerprint or reconciled ~= '1' then return false end
if a.configured and redis.call('HSETNX', feed, 'backfilled', a.id) == 0 then return 0 end
local ranges = without(a.ranges, {{tonumber(origin), math.huge}})
if #ranges == 0 then return 0 end

local first, last, total = ranges[1][1], ranges[#ranges][2], 0
for _, range in ipairs(ranges) do total = total + range[2] - range[1] end
redis.call('HSET', part, 'fingerprint', a.fingerprint, 'origin_ms', whole(first), 'head_ms', whole(last), 'ranges',
  ranges_json(ranges), 'left_out', ranges_json(without({{first, last}}, ranges)), 'planned_ms', whole(clock_ms()))
redis.call('SADD', parts, a.part)
for i = 1, #a.fields, 2 do redis.call('HSETNX', backfill, a.fields[i], a.fields[i + 1]) end
redis.call('HSETNX', backfill, 'created_ms', whole(clock_ms()))
redis.call('HINCRBY', backfill, 'total_ms', whole(total))
redis.call('SADD', ids, a.id)
note_to_do(history, ranges)
note_reopened(feed, ranges)
return total
