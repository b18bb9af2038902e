-- One atomic read of what is planned, open and unsettled, for every feed; or of some feeds without what is unsettled.
-- Redis serves nobody else meanwhile, so of very many they are read some at a time (common/state/feeds_reading.py).
--
-- KEYS 1 feeds, 2 committed
-- a    prefixes (what a feed's own keys begin with: feed, windows, gaps, rechecks), names (of some feeds), or, for
--      every feed, most_feeds, most_windows (committed ones)
-- Returns JSON: {feed: {fields, backlog = ranges, deferred = ranges, open = ranges, unsettled = ranges, gaps = count}};
-- a range is [start, end], an empty list of ranges is an object. What is deferred is in the backlog, too. nil where
-- there are more than at most.
if not a.names and (redis.call('SCARD', KEYS[1]) > a.most_feeds or redis.call('HLEN', KEYS[2]) > a.most_windows) then
  return false
end
local names = {}
for _, name in ipairs(a.names or redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('SISMEMBER', KEYS[1], name) == 1 then names[#names + 1] = name end
end

-- What is left on both sides of what was extracted of a gap after all is one (commit.lua).
local function count_of(gaps)
  local count, counted = 0, {}
  for _, gap in ipairs(redis.call('LRANGE', gaps, 0, -1)) do
    local of = string.match(gap, '"of":"([%d ]+)"')
    if not of or not counted[of] then count = count + 1 end
    if of then counted[of] = true end
  end
  return count
end

local feeds = {}
for _, name in ipairs(names) do
  local feed, windows, gaps = a.prefixes[1] .. name, a.prefixes[2] .. name, a.prefixes[3] .. name
  local fields = pairs_of(redis.call('HGETALL', feed))
  local backlog, deferred = parse_ranges(fields.ranges), parse_ranges(fields.deferred)
  for _, range in ipairs(deferred) do backlog[#backlog + 1] = range end
  feeds[name] = {
    fields = fields,
    backlog = merged(backlog),
    deferred = merged(deferred),
    open = open_ranges(windows),
    unsettled = {},
    gaps = count_of(gaps),
  }
end
for _, committed in ipairs(a.names and {} or redis.call('HVALS', KEYS[2])) do
  local name, first, last = string.match(committed, '^(%S+) (%S+) (%S+)$')
  if feeds[name] then table.insert(feeds[name].unsettled, {tonumber(first), tonumber(last)}) end
end
return cjson.encode(feeds)
