-- Begin a feed's part of a backfill: time before the feed's origin that is to be extracted.
--
-- KEYS 1 feed, 2 configurations that were in force, 3 backfill, 4 ids of backfills, 5 parts of backfills, 6 part, 7 a lease
--      (where it matters)
-- a    fingerprint, id, part (its name), ranges ({start, end} in ms, at least one), fields (of the backfill, as a list of
--      names and values), configured (it is the one that the configuration asks for, which is begun once), holder (of the
--      lease)
-- Returns how many ms were taken: 0 where none of it lies before the origin, or the configured one was begun already;
-- nil when another configuration owns the feed, the sink's watermark of it is not known yet, the lease is another's, or
-- the backfill was cancelled.
local feed, history, backfill, ids, parts, part, lease = unpack(KEYS)
local owner, origin, reconciled = unpack(redis.call('HMGET', feed, 'fingerprint', 'origin_ms', 'reconciled'))
if owner ~= a.fingerprint or reconciled ~= '1' then return false end
if lease and redis.call('GET', lease) ~= a.holder then return false end
-- Since its other feeds have got their parts.
if redis.call('HGET', backfill, 'state') == 'cancelled' then return false end
if a.configured and redis.call('HSETNX', feed, 'backfilled', a.id) == 0 then return 0 end
local ranges = without(a.ranges, {{tonumber(origin), math.huge}})
if #ranges == 0 then return 0 end
return begin_part(feed, history, backfill, ids, parts, part, a, ranges)
