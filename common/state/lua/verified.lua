-- Take or renew the verifier's lease, and note what was proven, if the lease is the caller's.
--
-- KEYS 1 lease, 2 verified
-- a    token, lease_ms (0: end the lease), proven ({feed: JSON})
-- Returns 1, or nil when another verifier has the lease.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= a.token then return false end
if a.lease_ms > 0 then
  redis.call('SET', KEYS[1], a.token, 'PX', whole(a.lease_ms))
else
  redis.call('DEL', KEYS[1])
end
for feed, proven in pairs(a.proven) do redis.call('HSET', KEYS[2], feed, proven) end
return 1
