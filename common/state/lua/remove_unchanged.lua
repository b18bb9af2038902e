-- Remove fields of a hash that still have the values that the caller saw.
--
-- KEYS 1 the hash
-- ARGV 2.. field, value, …
-- Returns how many were removed.
local removed = 0
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
