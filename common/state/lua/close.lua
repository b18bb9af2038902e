-- Close a feed that no configuration plans any more: what it still owed becomes a declared gap.
-- Returns {} when somebody planned it lately, else {start, end, …} of what was still owed.
--
-- KEYS 1 feed, 2 open windows, 3 gaps, 4 feeds, 5 rechecks, 6 watermarks read from the sink
-- ARGV 1 feed name, 2 unplanned for at least (ms), 3 reason, 4 now (ms; '' = the server's clock)
local feed, windows, gaps = KEYS[1], KEYS[2], KEYS[3]
local now = clock_ms(ARGV[4])
local planned = tonumber(redis.call('HGET', feed, 'planned_ms')) or 0
if now - planned < tonumber(ARGV[2]) then return {} end
local owed = cjson.decode(redis.call('HGET', feed, 'ranges') or '[]')
for _, json in ipairs(redis.call('HVALS', windows)) do
  local window = cjson.decode(json)
  owed[#owed + 1] = {window.s, window.e}
end
table.sort(owed, function(a, b) return a[1] < b[1] end)
local reply = {'closed'}
for _, range in ipairs(owed) do
  declare_gap(gaps, range[1], range[2], ARGV[3], now)
  reply[#reply + 1] = whole(range[1])
  reply[#reply + 1] = whole(range[2])
end
redis.call('DEL', feed, windows, KEYS[5])
redis.call('HDEL', KEYS[6], ARGV[1])
redis.call('SREM', KEYS[4], ARGV[1])
return reply
