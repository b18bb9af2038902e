-- One atomic read of what is planned, open and unsettled, for every feed.
--
-- KEYS 1 feeds, 2 committed
-- a    feed, windows, gaps (what these keys of a feed begin with)
-- Returns JSON: {feeds = {feed: {fields, backlog = ranges, open = ranges, gaps = count}},
-- committed = {window: 'feed start end'}}. An empty list of ranges is an object.
local feeds = {}
for _, feed in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  feeds[feed] = {
    fields = pairs_of(redis.call('HGETALL', a.feed .. feed)),
    backlog = backlog_of(a.feed .. feed),
    open = open_ranges(a.windows .. feed),
    gaps = redis.call('LLEN', a.gaps .. feed),
  }
end
return cjson.encode({feeds = feeds, committed = pairs_of(redis.call('HGETALL', KEYS[2]))})
