-- One atomic read of what is planned, open and unsettled, for every lane.
-- Returns JSON: {lanes = {lane: {fields, windows = {id: window}, gaps = count}}, committed = {window: 'lane start end'}}.
--
-- KEYS 1 lanes, 2 committed
-- ARGV 1 prefix of lane keys, 2 of windows keys, 3 of gaps keys
local lanes = {}
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  lanes[lane] = {
    fields = pairs_of(redis.call('HGETALL', ARGV[1] .. lane)),
    windows = pairs_of(redis.call('HGETALL', ARGV[2] .. lane)),
    gaps = redis.call('LLEN', ARGV[3] .. lane),
  }
end
return cjson.encode({lanes = lanes, committed = pairs_of(redis.call('HGETALL', KEYS[2]))})
