-- Remove staged payloads, but only those that are still staged: a commit whose answer was lost has
-- made entries of them, and they are somebody's only copy then.
-- Returns how many were removed.
--
-- KEYS 1 staged, 2.. payloads
-- ARGV 1.. bytes of each
local removed = 0
for i = 2, #KEYS do
  if redis.call('ZREM', KEYS[1], KEYS[i] .. ' ' .. ARGV[i - 1]) == 1 then
    redis.call('UNLINK', KEYS[i])
    removed = removed + 1
  end
end
return removed
