-- Take or renew the verifier's lease, and note what was proven, if the lease is the caller's.
--
-- KEYS 1 lease, 2 verified, 3.. feeds
-- a    token, lease_ms (0: end the lease), proven ({feed: JSON}), reopened (of each of the feeds, what was noted as
--      opened again when it was read: it is forgotten, unless more was opened since)
-- Returns 1, or nil when another verifier has the lease.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= a.token then return false end
if a.lease_ms > 0 then
  redis.call('SET', KEYS[1], a.token, 'PX', whole(a.lease_ms))
else
  redis.call('DEL', KEYS[1])
end
for feed, proven in pairs(a.proven) do redis.call('HSET', KEYS[2], feed, proven) end
for i, reopened in ipairs(a.reopened) do
  if redis.call('HGET', KEYS[i + 2], 'reopened') == reopened then redis.call('HSET', KEYS[i + 2], 'reopened', '') end
end
return 1
