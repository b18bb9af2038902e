-- Remove staged payloads, but only those that are still staged: a commit whose reply was lost has
-- made entries of them, and they are somebody's only copy then.
--
-- KEYS 1 staged, 2.. payloads
-- a    bytes of each payload
-- Returns how many were removed.
local removed = 0
for i, bytes in ipairs(a.bytes) do
  local key = KEYS[1 + i]
  if redis.call('ZREM', KEYS[1], key .. ' ' .. whole(bytes)) == 1 then
    redis.call('UNLINK', key)
    removed = removed + 1
  end
end
return removed
