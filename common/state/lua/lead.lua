-- Be the one of several that does something, for a while; again and again, as long as one wants to be.
--
-- KEYS 1 who it is
-- a    holder, lease_ms
-- Returns 1, or 0 while it is another.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= a.holder then return 0 end
redis.call('SET', KEYS[1], a.holder, 'PX', whole(a.lease_ms))
return 1
