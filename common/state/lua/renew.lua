-- Renew the lease of entries in hand, and only of those that are still ours: a plain XCLAIM would
-- steal an entry back from the worker that took it over.
-- Returns the ids that are no longer ours.
--
-- KEYS 1 stream
-- ARGV 1 group, 2 consumer, 3.. ids
local lost = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])
  if pending.err or #pending == 0 then
    lost[#lost + 1] = id
  elseif #redis.call('XRANGE', KEYS[1], id, id) == 1 then
    -- XCLAIM forgets an entry that somebody deleted; it must stay pending until it is reported.
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  end
end
return lost
