-- Stage one payload of a window that is not committed yet; it vanishes by itself if it never is.
-- KEYS 1 payload, 2 staged
-- ARGV 1 payload, 2 kept for (ms), 3 now (ms; '' = the server's clock)
local now = clock_ms(ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[2])), KEYS[1] .. ' ' .. #ARGV[1])
return 'ok'
