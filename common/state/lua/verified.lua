-- Take or renew the verifier's lease, and note what was proven, if the lease is the caller's.
--
-- KEYS 1 lease, 2 verified, 3.. feeds
-- a    token, lease_ms (0: end the lease), keep_ms (the key is kept for so long after that), begins (the lease may be taken
--      where it is over), proven ({feed: JSON}), reopened (of each of the feeds, what was noted as opened again when it
--      was read: it is forgotten, unless more was opened since)
-- Returns 1, or nil when another verifier has the lease, or may have had it since.
local holder, left_ms = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
local is_over = not holder or left_ms >= 0 and left_ms <= a.keep_ms
if holder ~= a.token and not (a.begins and is_over) then return false end
-- Who had it last stays known: what was compared under a lease that ran out counts where nobody else has had it since.
redis.call('SET', KEYS[1], a.token, 'PX', whole(a.lease_ms + a.keep_ms))
for feed, proven in pairs(a.proven) do redis.call('HSET', KEYS[2], feed, proven) end
for i, reopened in ipairs(a.reopened) do
  if redis.call('HGET', KEYS[i + 2], 'reopened') == reopened then redis.call('HSET', KEYS[i + 2], 'reopened', '') end
end
return 1
