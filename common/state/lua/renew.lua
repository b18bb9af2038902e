-- Renew the lease of entries in hand, and only of those that are still ours: a plain XCLAIM would
-- steal an entry back from the worker that took it over.
--
-- KEYS 1..4 stream, its in-flight records, crashes, released
-- a    group, consumer, ids
-- Returns the ids that are no longer ours.
local stream, lost = KEYS[1], {}
for _, id in ipairs(a.ids) do
  local pending = redis.pcall('XPENDING', stream, a.group, id, id, 1, a.consumer)
  if pending.err or #pending == 0 then
    lost[#lost + 1] = id
  elseif #redis.call('XRANGE', stream, id, id) == 1 then
    -- XCLAIM forgets an entry that somebody deleted; it must stay pending until it is reported.
    redis.call('XCLAIM', stream, a.group, a.consumer, 0, id, 'JUSTID')
  end
end
return lost
