-- Take over entries that were given back, or whose worker died.
-- Returns {entries taken: {{id, crashes, {field, value, …}}, …}, ids found deleted while pending}.
--
-- KEYS 1 stream, 2 crashes, 3 released
-- ARGV 1 group, 2 consumer, 3 consumer that holds what was given back, 4 lease (ms), 5 most entries,
--      6 now (ms; '' = the server's clock)
--
-- Giving back does not count as a crash; a lease that ran out under another worker does. An entry
-- with a crash behind it is a suspect and is handed out alone, so that its neighbours do not die with it.
local stream, crashes, released = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, shelf = ARGV[1], ARGV[2], ARGV[3]
local lease, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local taken, deleted = {}, {}

local function take(id)
  local found = redis.call('XRANGE', stream, id, id)
  redis.call('HDEL', released, id)
  if #found == 0 then
    redis.call('XACK', stream, group, id)
    deleted[#deleted + 1] = id
    return
  end
  redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
  taken[#taken + 1] = {id, tonumber(redis.call('HGET', crashes, id) or '0'), found[1][2]}
end

local given_back = redis.call('XPENDING', stream, group, '-', '+', 4 * most, shelf)
for _, pending in ipairs(given_back) do
  if #taken >= most then break end
  local id = pending[1]
  if tonumber(redis.call('HGET', released, id) or '0') <= now then
    local suspect = redis.call('HEXISTS', crashes, id) == 1
    if not suspect then
      take(id)
    elseif #taken == 0 then
      take(id)
      if #taken > 0 then return {taken, deleted} end
    end
  end
end
if #taken > 0 then return {taken, deleted} end

-- XPENDING's IDLE filter follows the server's clock, which is the clock that leases run by.
local stale = redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', 4 * most)
for _, pending in ipairs(stale) do
  local id, owner = pending[1], pending[2]
  if owner ~= shelf then
    if #redis.call('XRANGE', stream, id, id) > 0 and owner ~= consumer then
      if #taken > 0 then break end
      redis.call('HINCRBY', crashes, id, 1)
      take(id)
      break
    end
    take(id)
    if #taken >= most then break end
  end
end
return {taken, deleted}
