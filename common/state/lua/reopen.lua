-- Put a range of a feed back into its backlog, to be extracted (again): late samples, a repair, or
-- time before the feed's origin. What is open or in the backlog already is left as it is.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 configurations that were in force, 6 a lease (where it matters)
-- a    fingerprint, start_ms, end_ms, extend (the feed may be extended back to the start), reconcile (the end is the
--      feed's origin, and from now on the feed may replace the sink's watermark),
--      done (rechecks that are done with it), round (recounts that the range had), holder (of the lease)
-- Returns how many ms were put back; or nil when another configuration owns the feed, when somebody else has opened it
-- for the same recheck, or has reconciled it, or when the lease is another's by now.
local feed, windows, rechecks = KEYS[1], KEYS[2], KEYS[4]
local owner, origin, reconciled = unpack(redis.call('HMGET', feed, 'fingerprint', 'origin_ms', 'reconciled'))
if owner ~= a.fingerprint or a.reconcile and reconciled == '1' then return false end
if KEYS[6] and redis.call('GET', KEYS[6]) ~= a.holder then return false end
local waits = #a.done == 0
for _, recheck in ipairs(a.done) do
  if redis.call('ZSCORE', rechecks, recheck) then waits = true end
end
if not waits then return false end
origin = tonumber(origin)
local last = a.reconcile and origin or a.end_ms
if a.extend then origin = math.min(origin, a.start_ms) end

local added = put_back(feed, KEYS[5], not_waiting(feed, windows, {{a.start_ms, last}}, origin), a.round)
redis.call('HSET', feed, 'origin_ms', whole(origin))
if a.reconcile then redis.call('HSET', feed, 'reconciled', '1') end
for _, recheck in ipairs(a.done) do redis.call('ZREM', rechecks, recheck) end
return added
