-- Lease the next window of a feed: an open one whose lease is free or ran out, else one newly cut
-- from the backlog, newest first.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 token counter
-- a    fingerprint, window_class (live or catchup), live_horizon_ms (back from the head), longest_ms, lease_ms,
--      max_open (windows), random (a word)
-- Returns {window id, start, end, token, attempts}, or nil when there is none.
local feed, windows = KEYS[1], KEYS[2]
local now = clock_ms()
local owner, not_before, head, backlog, wait =
  unpack(redis.call('HMGET', feed, 'fingerprint', 'not_before_ms', 'head_ms', 'ranges', 'wait_ms'))
if owner ~= a.fingerprint then return false end
not_before = tonumber(not_before) or 0
if not_before > now then
  local sooner = ends_at(not_before, tonumber(wait), now)
  if sooner < not_before then redis.pcall('HSET', feed, 'not_before_ms', whole(sooner)) end
  return false
end

local chosen, chosen_id, open = nil, nil, 0
for id, json in pairs(pairs_of(redis.call('HGETALL', windows))) do
  open = open + 1
  local window = cjson.decode(json)
  local lease_ends, wait_ends = ends_at(window.d, a.lease_ms, now), ends_at(window.nb, window.w, now)
  if lease_ends < window.d or wait_ends < window.nb then
    window.d, window.nb = lease_ends, wait_ends
    redis.pcall('HSET', windows, id, cjson.encode(window))
  end
  local free = (window.t == '' or window.d <= now) and window.nb <= now
  if free and window.c == a.window_class and (not chosen or window.e > chosen.e) then
    chosen, chosen_id = window, id
  end
end

-- Cuts the newest piece of the class out of `ranges`: what is live lies after the border.
local function cut(ranges, border)
  for i = #ranges, 1, -1 do
    local first, last = ranges[i][1], ranges[i][2]
    local lower, upper = first, last
    if a.window_class == 'live' then lower = math.max(first, border) else upper = math.min(last, border) end
    if lower < upper then
      lower = math.max(lower, upper - a.longest_ms)
      table.remove(ranges, i)
      if first < lower then ranges[#ranges + 1] = {first, lower} end
      if upper < last then ranges[#ranges + 1] = {upper, last} end
      return {s = lower, e = upper, c = a.window_class, t = '', d = 0, nb = 0, a = 0}
    end
  end
end

local ranges = nil
if not chosen then
  if open >= a.max_open then return false end
  ranges = parse_backlog(backlog)
  chosen = cut(ranges, tonumber(head) - a.live_horizon_ms)
  if not chosen then return false end
end

-- A counter alone would repeat itself after Redis lost its last second, or everything, and a worker
-- from before would then hold the token of a window that is not its own.
local token = redis.call('INCR', KEYS[5]) .. '-' .. a.random
chosen_id = chosen_id or ('w' .. token)
chosen.t, chosen.d = token, now + a.lease_ms
redis.call('HSET', windows, chosen_id, cjson.encode(chosen))
if ranges then redis.call('HSET', feed, 'ranges', backlog_json(ranges)) end
return {chosen_id, chosen.s, chosen.e, token, chosen.a}
