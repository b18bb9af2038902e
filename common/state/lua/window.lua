-- Change an open window that the caller holds; refused when its lease or configuration is not the caller's.
-- Returns 'ok' or 'refused'.
--
-- KEYS 1 feed, 2 open windows, 3 gaps
-- ARGV 1 window id, 2 token, 3 fingerprint, 4 now (ms; '' = the server's clock), 5 verb, 6.. its arguments:
--   renew  lease (ms)
--   split  middle (ms): two windows take its place
--   retry  after (ms): it stays open and waits
--   fail   shortest, longest wait (ms): its range returns to the backlog and the whole feed waits,
--          twice as long each time until a window of it is committed
--   gap    end (ms), reason: what lies before is declared a gap; the rest, if any, stays leased
local feed, windows, gaps = KEYS[1], KEYS[2], KEYS[3]
local id, verb = ARGV[1], ARGV[5]
local now = clock_ms(ARGV[4])
local json = redis.call('HGET', windows, id)
if not json then return 'refused' end
local window = cjson.decode(json)
if window.t ~= ARGV[2] or redis.call('HGET', feed, 'fingerprint') ~= ARGV[3] then return 'refused' end

-- HDEL passes at maxmemory, and what follows it in a script passes too: a window must be given back,
-- and its lease renewed, even then.
if verb == 'renew' then
  redis.call('HDEL', windows, id)
  window.d = now + tonumber(ARGV[6])
  redis.call('HSET', windows, id, cjson.encode(window))
elseif verb == 'split' then
  local middle = tonumber(ARGV[6])
  if middle <= window.s or middle >= window.e then return 'refused' end
  redis.call('HDEL', windows, id)
  for half, bounds in ipairs({{window.s, middle}, {middle, window.e}}) do
    redis.call('HSET', windows, id .. '.' .. half,
      cjson.encode({s = bounds[1], e = bounds[2], c = window.c, t = '', d = 0, nb = 0, a = 0}))
  end
elseif verb == 'retry' then
  window.t, window.d, window.a = '', 0, window.a + 1
  window.nb = now + tonumber(ARGV[6])
  redis.call('HDEL', windows, id)
  redis.call('HSET', windows, id, cjson.encode(window))
elseif verb == 'fail' then
  local attempts = tonumber(redis.call('HGET', feed, 'attempts')) or 0
  local wait = math.min(tonumber(ARGV[7]), tonumber(ARGV[6]) * 2 ^ math.min(attempts, 30))
  local ranges = cjson.decode(redis.call('HGET', feed, 'ranges') or '[]')
  ranges[#ranges + 1] = {window.s, window.e}
  redis.call('HDEL', windows, id)
  redis.call('HSET', feed, 'ranges', ranges_json(merge(ranges)),
    'not_before_ms', whole(now + wait))
  redis.call('HINCRBY', feed, 'attempts', 1)
elseif verb == 'gap' then
  local upto = math.min(tonumber(ARGV[6]), window.e)
  if upto <= window.s then return 'refused' end
  redis.call('HDEL', windows, id)
  declare_gap(gaps, window.s, upto, ARGV[7], now)
  if upto < window.e then
    window.s = upto
    redis.call('HSET', windows, id, cjson.encode(window))
  end
else
  return redis.error_reply('unknown verb ' .. verb)
end
return 'ok'
