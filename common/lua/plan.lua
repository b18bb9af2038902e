-- Extend what is planned for a lane up to a new head; create the lane at its origin if it is new.
-- Returns {status, head}: status planned, or stale_config when another configuration owns the lane.
--
-- KEYS 1 lane, 2 open windows of the lane, 3 lanes
-- ARGV 1 lane name, 2 fingerprint, 3 '1' = take the lane over for this fingerprint, 4 origin (ms),
--      5 new head (ms), 6 now (ms; '' = the server's clock)
--
-- Ranges are kept as a sorted JSON list of [start, end], merged where they touch: a backlog of any
-- length costs a few bytes.
local lane, windows = KEYS[1], KEYS[2]
local fingerprint, origin, new_head = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])

local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local owner = redis.call('HGET', lane, 'fingerprint')
if owner and owner ~= fingerprint and ARGV[3] ~= '1' then
  return {'stale_config', redis.call('HGET', lane, 'head_ms')}
end
local head = tonumber(redis.call('HGET', lane, 'head_ms')) or origin
local ranges = cjson.decode(redis.call('HGET', lane, 'ranges') or '[]')

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
table.sort(ranges, function(a, b) return a[1] < b[1] end)
local merged = {}
for _, range in ipairs(ranges) do
  local last = merged[#merged]
  if last and range[1] <= last[2] then
    last[2] = math.max(last[2], range[2])
  else
    merged[#merged + 1] = range
  end
end

redis.call('HSET', lane, 'fingerprint', fingerprint, 'head_ms', string.format('%.0f', head),
  'ranges', #merged == 0 and '[]' or cjson.encode(merged), 'planned_ms', string.format('%.0f', now))
redis.call('HSETNX', lane, 'origin_ms', string.format('%.0f', origin))
redis.call('SADD', KEYS[3], ARGV[1])
if recut > 0 then
  redis.call('DEL', windows)
  redis.call('HDEL', lane, 'attempts', 'not_before_ms')
end
return {'planned', string.format('%.0f', head)}
