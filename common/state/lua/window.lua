-- Change an open window that the caller has leased.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, of a part of a backfill 5 that
-- a    window, token, fingerprint, verb, and for the verb
--      renew  lease_ms
--      split  middle_ms, hold: two windows take its place
--      defer  its range is deferred: it takes no place of an open window, and now and then a piece of what is
--             deferred is tried again (lease.lua), each time after twice the wait
--      retry  after_ms: it stays open and waits
--      release  it stays open as it was before
--      fail   its range returns to where it was cut from, and the feed is held
--             Where a feed is held, nothing of it is leased for a while, twice as long each time until a window of
--             it is committed. Waits are between shortest_ms and longest_ms.
--      gap    until_ms, reason: what lies before is declared a gap, or left out of a backfill, before which nothing
--             was promised; the rest, if any, stays leased
-- Returns 1, or 0 when it changed nothing: lease or configuration is not the caller's, or the bounds are not the window's.
local feed, windows, gaps = KEYS[1], KEYS[2], KEYS[3]
local now = clock_ms()
local window = leased_window(feed, windows)
if not window then return 0 end

-- HDEL passes at maxmemory, and what follows it in a script passes too: a window must be released,
-- and its lease renewed, even then.
local function replace(new)
  redis.call('HDEL', windows, a.window)
  for id, changed in pairs(new) do redis.call('HSET', windows, id, cjson.encode(changed)) end
end

if a.verb == 'renew' then
  window.d = now + a.lease_ms
  replace({[a.window] = window})
elseif a.verb == 'split' then
  local middle = a.middle_ms
  if middle <= window.s or middle >= window.e then return 0 end
  local function half(first, last)
    return {s = first, e = last, c = window.c, t = '', d = 0, nb = 0, a = 0, r = window.r}
  end
  replace({[a.window .. '.1'] = half(window.s, middle), [a.window .. '.2'] = half(middle, window.e)})
  if a.hold then hold_feed(feed, now) end
elseif a.verb == 'defer' then
  local ranges = ranges_of(feed, 'deferred')
  local attempts = tonumber(redis.call('HGET', feed, 'deferred_attempts')) or 0
  ranges[#ranges + 1] = range_of(window)
  replace({})
  redis.call('HSET', feed, 'deferred', ranges_json(ranges), 'deferred_attempts', attempts + 1,
    'deferred_not_before_ms', whole(now + wait_ms(attempts)), 'deferred_wait_ms', whole(wait_ms(attempts)),
    'deferred_step_ms', whole(window.e - window.s))
elseif a.verb == 'retry' then
  window.t, window.d, window.a = '', 0, window.a + 1
  window.nb, window.w = now + a.after_ms, a.after_ms
  replace({[a.window] = window})
elseif a.verb == 'release' then
  window.t, window.d = '', 0
  replace({[a.window] = window})
elseif a.verb == 'fail' then
  -- Where another piece of what was deferred was extracted meanwhile, all of it is backlog again.
  local is_deferred = window.p and redis.call('HEXISTS', feed, 'deferred_step_ms') == 1
  local field = is_deferred and 'deferred' or 'ranges'
  local ranges = ranges_of(feed, field)
  ranges[#ranges + 1] = range_of(window)
  replace({})
  redis.call('HSET', feed, field, ranges_json(ranges))
  hold_feed(feed, now)
elseif a.verb == 'gap' then
  local upto = math.min(a.until_ms, window.e)
  if upto <= window.s then return 0 end
  local first = window.s
  window.s = upto
  replace(upto < window.e and {[a.window] = window} or {})
  if KEYS[5] then
    local left_out = ranges_of(feed, 'left_out')
    left_out[#left_out + 1] = {first, upto}
    redis.call('HSET', feed, 'left_out', ranges_json(left_out))
    redis.call('HINCRBY', KEYS[5], 'gap_ms', whole(upto - first))
  else
    declare_gap(gaps, first, upto, a.reason, now)
  end
  if upto == window.e and window.p then release_deferred(feed) end
else
  return redis.error_reply('unknown verb ' .. a.verb)
end
return 1
