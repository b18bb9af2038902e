-- Extend what is planned for a feed up to a new head; create the feed at its origin if it is new.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 feeds, 6 configurations that were in force, 7 committed,
--      8.. two for each of its parts of backfills: part, its open windows
-- a    feed, fingerprint, adopt (take the feed over for this fingerprint), origin_ms, head_ms,
--      configuration (that is in force from now on), configuration_id; both '' where nothing may have changed,
--      lag_limit_ms (0: not known), settle_ms, settle_why (how long its samples settle, for whoever reads the feed),
--      most_windows (committed ones of all feeds that are looked at), may_be_unsettled (where there are more: ranges of
--      the feed in which all lies that is committed, and not settled, or still to be extracted)
-- Returns 1, or 0 when another configuration owns the feed.
local feed, windows = KEYS[1], KEYS[2]
local owner, head, backlog = unpack(redis.call('HMGET', feed, 'fingerprint', 'head_ms', 'ranges'))
local taken_over = owner and owner ~= a.fingerprint
if taken_over and not a.adopt then return 0 end

-- When another configuration came into force: up to where the feed was planned, what of that was still to be
-- extracted, and what was committed and not settled. Of very many changes the oldest are forgotten.
local MOST_CHANGES = 50
local function note_change(planned_ms, to_do)
  local changes = changes_in(KEYS[6])
  local last = changes[#changes]
  if last and last.id == a.configuration_id then return end
  local unsettled = {}
  if last and redis.call('HLEN', KEYS[7]) > a.most_windows then
    -- Redis would serve nobody else for too long, once for each feed: rather too much is taken for unsettled.
    for _, range in ipairs(without(a.may_be_unsettled, to_do)) do
      if range[1] < planned_ms then unsettled[#unsettled + 1] = {range[1], math.min(range[2], planned_ms)} end
    end
  elseif last then
    for _, record in ipairs(redis.call('HVALS', KEYS[7])) do
      local name, first, to = string.match(record, '^(%S+) (%S+) (%S+)$')
      if name == a.feed then unsettled[#unsettled + 1] = {tonumber(first), tonumber(to)} end
    end
  end
  -- The sink keeps one change for each millisecond.
  local at = math.max(clock_ms(), last and last.at and last.at + 1 or 0)
  changes[#changes + 1] = {id = a.configuration_id, at = at, head = planned_ms, to_do = merged(to_do),
    unsettled = merged(unsettled)}
  if #changes > MOST_CHANGES then
    local gone, used = table.remove(changes, 1).id, false
    for _, change in ipairs(changes) do used = used or change.id == gone end
    if not used then redis.call('HDEL', KEYS[6], gone) end
  end
  redis.call('HSET', KEYS[6], a.configuration_id, a.configuration, 'changes', cjson.encode(changes))
end

-- Whether the configuration that was in force reads what this one reads, in windows that this one may extract again: then
-- what was counted of a window is compared as before. Raw samples are the same whatever the step.
local function reads_alike()
  local changes = changes_in(KEYS[6])
  local is_known, alike = pcall(function()
    local one = cjson.decode(redis.call('HGET', KEYS[6], changes[#changes].id))
    local other = cjson.decode(a.configuration)
    return one.kind == other.kind and one.text == other.text and (one.kind == 'select' or one.step_ms == other.step_ms)
      and (one.rollup or {})[1] == (other.rollup or {})[1]
      and cjson.encode(one.labels or {}) == cjson.encode(other.labels or {})
  end)
  return is_known and alike
end

local now = clock_ms()
local keeps_rechecks = taken_over and reads_alike()
head = tonumber(head) or a.origin_ms
local planned_before = head
local ranges = parse_ranges(backlog)
-- Where the query changed, what is open was cut for the old one.
local open = taken_over and open_ranges(windows) or {}
for _, range in ipairs(open) do ranges[#ranges + 1] = range end

if a.configuration ~= '' then
  local to_do = to_extract(feed, windows)
  for i = 8, #KEYS, 2 do
    for _, range in ipairs(to_extract(KEYS[i], KEYS[i + 1])) do to_do[#to_do + 1] = range end
  end
  note_change(head, to_do)
end
if a.head_ms > head then
  ranges[#ranges + 1] = {head, a.head_ms}
  head = a.head_ms
end

redis.call('HSET', feed, 'fingerprint', a.fingerprint, 'head_ms', whole(head),
  'ranges', ranges_json(ranges), 'planned_ms', whole(now), 'lag_limit_ms', whole(a.lag_limit_ms),
  'settle_ms', whole(a.settle_ms), 'settle_why', a.settle_why)
redis.call('HSETNX', feed, 'origin_ms', whole(a.origin_ms))
redis.call(taken_over and 'HSET' or 'HSETNX', feed, 'empty_since_ms', whole(planned_before))
redis.call('SADD', KEYS[5], a.feed)
if taken_over then
  redis.call('DEL', windows)
  -- What was counted of another query cannot be compared with what this one has.
  if not keeps_rechecks then redis.call('DEL', KEYS[4]) end
  redis.call('HDEL', feed, 'attempts', 'not_before_ms')
  release_deferred(feed)
end
for i = 8, #KEYS, 2 do
  local part, part_windows = KEYS[i], KEYS[i + 1]
  if redis.call('EXISTS', part) == 1 then
    if redis.call('HGET', part, 'fingerprint') ~= a.fingerprint then
      redis.call('HSET', part, 'ranges', ranges_json(to_extract(part, part_windows)), 'fingerprint', a.fingerprint)
      redis.call('HDEL', part, 'attempts', 'not_before_ms')
      release_deferred(part)
      redis.call('DEL', part_windows)
    end
    redis.call('HSET', part, 'planned_ms', whole(now))
  end
end
return 1
