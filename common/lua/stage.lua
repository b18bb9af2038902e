-- Stage one payload of a window that is not committed yet; it vanishes by itself if it never is.
-- KEYS 1 payload, 2 staged
-- ARGV 1 payload, 2 kept for (ms), 3 now (ms; '' = the server's clock)
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), KEYS[1] .. ' ' .. #ARGV[1])
return 'ok'
