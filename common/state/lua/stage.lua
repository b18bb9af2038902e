-- Stage one payload of a window that is not committed yet; it expires by itself if it never is.
--
-- KEYS 1 payload (which was put there), 2 staged
-- a    keep_ms, bytes (of the payload)
-- Returns ok, or nothing where the payload is not there.
local now = clock_ms()
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('ZADD', KEYS[2], whole(now + a.keep_ms), KEYS[1] .. ' ' .. whole(a.bytes))
redis.call('PEXPIRE', KEYS[1], whole(a.keep_ms))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
return 'ok'
