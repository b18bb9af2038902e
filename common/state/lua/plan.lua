-- Extend what is planned for a feed up to a new head; create the feed at its origin if it is new.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 feeds
-- a    feed, fingerprint, adopt (take the feed over for this fingerprint), origin_ms, head_ms
-- Returns 1, or 0 when another configuration owns the feed.
local feed, windows = KEYS[1], KEYS[2]
local owner, head, backlog = unpack(redis.call('HMGET', feed, 'fingerprint', 'head_ms', 'ranges'))
local taken_over = owner and owner ~= a.fingerprint
if taken_over and not a.adopt then return 0 end

local now = clock_ms()
head = tonumber(head) or a.origin_ms
local planned_before = head
local ranges = parse_ranges(backlog)
-- Where the query changed, what is open was cut for the old one.
local open = taken_over and open_ranges(windows) or {}
for _, range in ipairs(open) do ranges[#ranges + 1] = range end
if a.head_ms > head then
  ranges[#ranges + 1] = {head, a.head_ms}
  head = a.head_ms
end

redis.call('HSET', feed, 'fingerprint', a.fingerprint, 'head_ms', whole(head),
  'ranges', ranges_json(ranges), 'planned_ms', whole(now))
redis.call('HSETNX', feed, 'origin_ms', whole(a.origin_ms))
redis.call(taken_over and 'HSET' or 'HSETNX', feed, 'empty_since_ms', whole(planned_before))
redis.call('SADD', KEYS[5], a.feed)
if taken_over then
  -- What was committed for the old one cannot be compared with the new one.
  redis.call('DEL', windows, KEYS[4])
  redis.call('HDEL', feed, 'attempts', 'not_before_ms')
  release_deferred(feed)
end
return 1
