-- Remove consumers that hold nothing: XGROUP DELCONSUMER drops pending entries unreadably, so the
-- check and the removal must be one step.
--
-- KEYS 1..4 stream, its in-flight records, crashes, released
-- a    group, consumer, idle_ms (at least), only_self (remove no other consumer)
-- Returns how many were removed.
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], a.group)
if consumers.err then return 0 end
local removed = 0
for _, flat in ipairs(consumers) do
  local consumer = pairs_of(flat)
  local chosen = not a.only_self or a.consumer == consumer.name
  if chosen and consumer.pending == 0 and consumer.idle >= a.idle_ms then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], a.group, consumer.name)
    removed = removed + 1
  end
end
return removed
