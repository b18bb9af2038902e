-- Let a feed begin with what backfills have loaded right before its origin, and forget the parts that are in it then.
--
-- What is not extracted, or not settled, is never joined: it would take the feed's watermark back.
--
-- KEYS 1 feed, 2 committed, 3 parts of backfills, 4.. two for each of its parts: part, its open windows
-- a    feed, parts (their names, in order), most_windows (committed ones of all feeds that are looked at), may_be_unsettled
--      (where there are more: ranges in which all of the feed lies that is committed, and not settled)
-- Returns the feed's new origin, or nil where it stays, also because of a part that is not among them.
local feed, committed, names = KEYS[1], KEYS[2], KEYS[3]
local origin = tonumber(redis.call('HGET', feed, 'origin_ms'))
if not origin then return false end
-- A part that began since ours were read holds what is to be extracted (again): the next time it is among them.
local listed = {}
for _, name in ipairs(a.parts) do listed[name] = true end
local prefix = a.feed .. '+'
for _, name in ipairs(redis.call('SMEMBERS', names)) do
  if not listed[name] and string.sub(name, 1, #prefix) == prefix
      and redis.call('EXISTS', feed .. string.sub(name, #a.feed + 1)) == 1 then
    return false
  end
end
local coming, loaded, starts = {}, {}, {}
for i in ipairs(a.parts) do
  local part, windows = KEYS[2 * i + 2], KEYS[2 * i + 3]
  local first, last = unpack(redis.call('HMGET', part, 'origin_ms', 'head_ms'))
  if first then
    local left = to_extract(part, windows)
    starts[i] = tonumber(first)
    for _, range in ipairs(left) do coming[#coming + 1] = range end
    local not_ours = ranges_of(part, 'left_out')
    for _, range in ipairs(left) do not_ours[#not_ours + 1] = range end
    for _, range in ipairs(without({{tonumber(first), tonumber(last)}}, not_ours)) do loaded[#loaded + 1] = range end
  end
end
if redis.call('HLEN', committed) > a.most_windows then
  -- Redis would serve nobody else for too long, once for each feed: rather too little is joined.
  for _, range in ipairs(a.may_be_unsettled) do coming[#coming + 1] = range end
else
  for _, record in ipairs(redis.call('HVALS', committed)) do
    local name, first, last = string.match(record, '^(%S+) (%S+) (%S+)$')
    if name == a.feed then coming[#coming + 1] = {tonumber(first), tonumber(last)} end
  end
end
local joined = origin
for _, range in ipairs(without(loaded, coming)) do
  if range[1] < origin and range[2] >= origin then joined = range[1] end
end
for i, name in ipairs(a.parts) do
  if starts[i] and starts[i] >= joined then
    redis.call('DEL', KEYS[2 * i + 2], KEYS[2 * i + 3])
    redis.call('SREM', names, name)
  end
end
if joined == origin then return false end
redis.call('HSET', feed, 'origin_ms', whole(joined))
return joined
