-- Give entries back: they wait on the shelf until a time, and nothing is counted against them
-- (unless the worker says that they failed it).
-- Returns how many were still ours.
--
-- KEYS 1 stream, 2 crashes, 3 released
-- ARGV 1 group, 2 consumer, 3 shelf consumer, 4 not before (ms after now), 5 '1' if it counts as a crash,
--      6 now (ms; '' = the server's clock), 7.. ids
--
-- XCLAIM forgets an entry that somebody deleted, so such a one stays pending until it is reported.
-- XCLAIM comes first: it passes at maxmemory, and what follows it in a script passes too.
local stream, crashes, released = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, shelf = ARGV[1], ARGV[2], ARGV[3]
local now = clock_ms(ARGV[6])
local given = 0
for i = 7, #ARGV do
  local id = ARGV[i]
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1, consumer)
  if not pending.err and #pending == 1 and #redis.call('XRANGE', stream, id, id) == 1 then
    redis.call('XCLAIM', stream, group, shelf, 0, id, 'JUSTID')
    redis.call('HSET', released, id, whole(now + tonumber(ARGV[4])))
    if ARGV[5] == '1' then redis.call('HINCRBY', crashes, id, 1) end
    given = given + 1
  end
end
return given
