-- Rechecks that were made, or that could not be made.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks
-- a    rechecks (as they are kept), verb, and for the verb
--      pass       after_ms (of each recount, since the commit), longest_ms: the next recount is due in its time, if there
--                 is one; what adjoins the one before it is counted together with that
--      postpone   after_ms, failures: it is due again after so long, with so many failures more
-- Whatever is not there any more (another worker was quicker, or the query changed) is left out.
local feed, rechecks = KEYS[1], KEYS[4]
local now = clock_ms()

local function due_of(member) return tonumber(redis.call('ZSCORE', rechecks, member) or nil) end

-- What adjoins is one recheck from its second recount on: of a day there are a few then, however short its windows.
local function add(next, due)
  local field = 'recheck_tail_' .. next.round
  local tail_member = redis.call('HGET', feed, field)
  local tail_due = tail_member and due_of(tail_member)
  if tail_due then
    local tail = parse_recheck(tail_member)
    if tail.e == next.s and next.e - tail.s <= a.longest_ms and tail.since == next.since and tail.failures == 0 then
      redis.call('ZREM', rechecks, tail_member)
      next.s, next.samples, due = tail.s, next.samples + tail.samples, math.max(due, tail_due)
      -- Sums of hashes: that of both is their sum.
      next.low, next.high = (next.low + tail.low) % 2 ^ 32, (next.high + tail.high) % 2 ^ 32
    end
  end
  local member = pack_recheck(next)
  redis.call('ZADD', rechecks, whole(due), member)
  redis.call('HSET', feed, field, member)
end

for _, member in ipairs(a.rechecks) do
  local due = due_of(member)
  if due then
    local next = parse_recheck(member)
    redis.call('ZREM', rechecks, member)
    if a.verb == 'pass' then
      next.round, next.failures = next.round + 1, 0
      local after, before = a.after_ms[next.round + 1], a.after_ms[next.round]
      if after then add(next, due + after - before) end
    else
      next.failures = next.failures + a.failures
      redis.call('ZADD', rechecks, whole(now + a.after_ms), pack_recheck(next))
    end
  end
end
return 1
