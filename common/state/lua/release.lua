-- Release entries: a consumer that is no worker holds them until a time, and nothing is counted
-- against them (unless the worker says that they failed it).
--
-- KEYS 1..4 stream, its in-flight records, crashes, released
-- a    group, consumer, released (the consumer that holds what was released), after_ms, crashed, ids
-- Returns how many were still ours.
--
-- XCLAIM forgets an entry that somebody deleted, so such a one stays pending until it is reported.
-- XCLAIM comes first: it passes at maxmemory, and what follows it in a script passes too.
local stream, crashes, released = KEYS[1], KEYS[3], KEYS[4]
local until_ms = whole(clock_ms() + a.after_ms) .. ' ' .. whole(a.after_ms)
local ours = 0
for _, id in ipairs(a.ids) do
  local pending = redis.pcall('XPENDING', stream, a.group, id, id, 1, a.consumer)
  if not pending.err and #pending == 1 and #redis.call('XRANGE', stream, id, id) == 1 then
    redis.call('XCLAIM', stream, a.group, a.released, 0, id, 'JUSTID')
    redis.call('HSET', released, id, until_ms)
    if a.crashed then redis.call('HINCRBY', crashes, id, 1) end
    ours = ours + 1
  end
end
return ours
