-- One atomic read of what is planned, open and unsettled, for every feed.
-- Returns JSON: {feeds = {feed: {fields, windows = {id: window}, gaps = count}}, committed = {window: 'feed start end'}}.
--
-- KEYS 1 feeds, 2 committed
-- ARGV 1 prefix of feed keys, 2 of windows keys, 3 of gaps keys
local feeds = {}
for _, feed in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  feeds[feed] = {
    fields = pairs_of(redis.call('HGETALL', ARGV[1] .. feed)),
    windows = pairs_of(redis.call('HGETALL', ARGV[2] .. feed)),
    gaps = redis.call('LLEN', ARGV[3] .. feed),
  }
end
return cjson.encode({feeds = feeds, committed = pairs_of(redis.call('HGETALL', KEYS[2]))})
