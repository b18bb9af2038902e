-- Stage one payload of a window that is not committed yet; it expires by itself if it never is.
--
-- KEYS 1 payload, 2 staged
-- a    keep_ms; ARGV 2 payload
-- Returns nothing.
local now = clock_ms()
redis.call('SET', KEYS[1], ARGV[2], 'PX', whole(a.keep_ms))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
redis.call('ZADD', KEYS[2], whole(now + a.keep_ms), KEYS[1] .. ' ' .. #ARGV[2])
