-- Remove consumers that hold nothing: XGROUP DELCONSUMER drops pending entries unreadably, so the
-- check and the removal must be one step.
-- Returns how many were removed.
--
-- KEYS 1 stream
-- ARGV 1 group, 2 idle for at least (ms), 3 '' or the one consumer to look at
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end
local removed = 0
for _, consumer in ipairs(consumers) do
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  local chosen = ARGV[3] == '' or ARGV[3] == info.name
  if chosen and info.pending == 0 and info.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
    removed = removed + 1
  end
end
return removed
