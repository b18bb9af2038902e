-- Extend what is planned for a feed up to a new head; create the feed at its origin if it is new.
-- Returns {status, head}: status planned, or stale_config when another configuration owns the feed.
--
-- KEYS 1 feed, 2 open windows of the feed, 3 feeds
-- ARGV 1 feed name, 2 fingerprint, 3 '1' = take the feed over for this fingerprint, 4 origin (ms),
--      5 new head (ms), 6 now (ms; '' = the server's clock)
--
-- Ranges are kept as a sorted JSON list of [start, end], merged where they touch: a backlog of any
-- length costs a few bytes.
local feed, windows = KEYS[1], KEYS[2]
local fingerprint, origin, new_head = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])

local now = clock_ms(ARGV[6])
local owner = redis.call('HGET', feed, 'fingerprint')
if owner and owner ~= fingerprint and ARGV[3] ~= '1' then
  return {'stale_config', redis.call('HGET', feed, 'head_ms')}
end
local head = tonumber(redis.call('HGET', feed, 'head_ms')) or origin
local ranges = cjson.decode(redis.call('HGET', feed, 'ranges') or '[]')

local recut = 0
if owner and owner ~= fingerprint then
  -- The query changed: what is open was cut for the old one.
  local open = redis.call('HVALS', windows)
  for _, json in ipairs(open) do
    local window = cjson.decode(json)
    ranges[#ranges + 1] = {window.s, window.e}
  end
  recut = #open
end
if new_head > head then
  ranges[#ranges + 1] = {head, new_head}
  head = new_head
end
local merged = merge(ranges)

redis.call('HSET', feed, 'fingerprint', fingerprint, 'head_ms', whole(head),
  'ranges', ranges_json(merged), 'planned_ms', whole(now))
redis.call('HSETNX', feed, 'origin_ms', whole(origin))
redis.call('SADD', KEYS[3], ARGV[1])
if recut > 0 then
  redis.call('DEL', windows)
  redis.call('HDEL', feed, 'attempts', 'not_before_ms')
end
return {'planned', whole(head)}
