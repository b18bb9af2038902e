-- One atomic read of what is planned, open and unsettled, for every feed.
--
-- KEYS 1 feeds, 2 committed
-- a    prefixes (what a feed's own keys begin with: feed, windows, gaps, rechecks)
-- Returns JSON: {feed: {fields, backlog = ranges, deferred = ranges, open = ranges, unsettled = ranges, gaps = count}};
-- a range is [start, end], an empty list of ranges is an object. What is deferred is in the backlog, too.
local feeds = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
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
    gaps = redis.call('LLEN', gaps),
  }
end
for _, committed in ipairs(redis.call('HVALS', KEYS[2])) do
  local name, first, last = string.match(committed, '^(%S+) (%S+) (%S+)$')
  if feeds[name] then table.insert(feeds[name].unsettled, {tonumber(first), tonumber(last)}) end
end
return cjson.encode(feeds)
