-- Lease the next window of a feed: an open one whose lease is free or ran out, or one newly cut from the backlog, newest
-- first, or oldest first where a backfill says so. What is not live is cut at multiples of longest_ms, so that feeds whose
-- windows are of one length have the same. For catch-up, a piece of what is deferred comes before the backlog as often as
-- its waits allow: once it can be extracted, all that is deferred is backlog again.
--
-- KEYS 1..4 feed, its open windows, its gaps, its rechecks, 5 token counter, of a part of a backfill 6 that
-- a    fingerprint, window_class (live or catchup), live_horizon_ms (back from the head), longest_ms, lease_ms,
--      max_open (windows of the class), random (a word), within ({start, end} that the window must not exceed, or false)
-- Returns {window id, start, end, token, attempts}, or nil when there is none.
local feed, windows = KEYS[1], KEYS[2]
local now = clock_ms()
local owner, not_before, head, backlog, wait =
  unpack(redis.call('HMGET', feed, 'fingerprint', 'not_before_ms', 'head_ms', 'ranges', 'wait_ms'))
if owner ~= a.fingerprint then return false end
local oldest_first = false
if KEYS[6] then
  local state, order, paced_until, pace =
    unpack(redis.call('HMGET', KEYS[6], 'state', 'order', 'not_before_ms', 'wait_ms'))
  if state ~= 'running' or ends_at(tonumber(paced_until) or 0, tonumber(pace), now) > now then return false end
  oldest_first = order == 'oldest'
end
-- Whether the window that ends at `one` is to be extracted before that which ends at `other`.
local function comes_first(one, other) return one ~= other and (one < other) == oldest_first end
not_before = tonumber(not_before) or 0
if not_before > now then
  local sooner = ends_at(not_before, tonumber(wait), now)
  if sooner < not_before then redis.pcall('HSET', feed, 'not_before_ms', whole(sooner)) end
  return false
end

local chosen, chosen_id, open = nil, nil, 0
for id, json in pairs(pairs_of(redis.call('HGETALL', windows))) do
  local window = cjson.decode(json)
  -- What waits in one class takes no place of the other.
  if window.c == a.window_class then open = open + 1 end
  local lease_ends, wait_ends = ends_at(window.d, a.lease_ms, now), ends_at(window.nb, window.w, now)
  if lease_ends < window.d or wait_ends < window.nb then
    window.d, window.nb = lease_ends, wait_ends
    redis.pcall('HSET', windows, id, cjson.encode(window))
  end
  local free = (window.t == '' or window.d <= now) and window.nb <= now
  if a.within then free = free and a.within[1] <= window.s and window.e <= a.within[2] end
  if free and window.c == a.window_class and (not chosen or comes_first(window.e, chosen.e)) then
    chosen, chosen_id = window, id
  end
end

-- Cuts the first piece of the class out of `ranges`: what is live lies after the border.
local function cut(ranges, border)
  for n = 1, #ranges do
    local i = oldest_first and n or #ranges + 1 - n
    local first, last, round = unpack(ranges[i])
    local lower, upper = first, last
    if a.window_class == 'live' then lower = math.max(first, border) else upper = math.min(last, border) end
    if a.within then lower, upper = math.max(lower, a.within[1]), math.min(upper, a.within[2]) end
    if lower < upper then
      local longest = a.longest_ms
      if a.window_class == 'live' then
        lower = math.max(lower, upper - longest)
      elseif oldest_first then
        upper = math.min(upper, (math.floor(lower / longest) + 1) * longest)
      else
        lower = math.max(lower, (math.ceil(upper / longest) - 1) * longest)
      end
      table.remove(ranges, i)
      if first < lower then ranges[#ranges + 1] = {first, lower, round} end
      if upper < last then ranges[#ranges + 1] = {upper, last, round} end
      return {s = lower, e = upper, c = a.window_class, t = '', d = 0, nb = 0, a = 0, r = round}
    end
  end
end

-- Cuts a piece out of what is deferred: one after the other, so that none keeps the others from being tried.
local function cut_deferred()
  local json, deferred_until, deferred_wait, step, cursor = unpack(redis.call('HMGET', feed, 'deferred',
    'deferred_not_before_ms', 'deferred_wait_ms', 'deferred_step_ms', 'deferred_cursor_ms'))
  if not json or ends_at(tonumber(deferred_until) or 0, tonumber(deferred_wait), now) > now then return end
  local deferred = parse_ranges(json)
  local function cut_before(upper_bound)
    for i = #deferred, 1, -1 do
      local first, last, round = unpack(deferred[i])
      if first < upper_bound then
        local upper = math.min(last, upper_bound)
        local lower = math.max(first, upper - (tonumber(step) or math.huge))
        table.remove(deferred, i)
        if first < lower then deferred[#deferred + 1] = {first, lower, round} end
        if upper < last then deferred[#deferred + 1] = {upper, last, round} end
        return {s = lower, e = upper, c = a.window_class, t = '', d = 0, nb = 0, a = 0, r = round, p = 1}
      end
    end
  end
  local piece = cut_before(tonumber(cursor) or math.huge) or cut_before(math.huge)
  return piece, deferred
end

local ranges, deferred = nil, nil
if open < a.max_open then
  if not chosen and a.window_class == 'catchup' and not a.within then chosen, deferred = cut_deferred() end
  -- What is freshest does not wait for what could not be read at once.
  if not chosen or (a.window_class == 'live' and chosen.e < tonumber(head)) then
    local left = parse_ranges(backlog)
    local newest = cut(left, tonumber(head) - a.live_horizon_ms)
    if newest and (not chosen or newest.e > chosen.e) then
      chosen, chosen_id, ranges = newest, nil, left
    end
  end
end
if not chosen then return false end

-- A counter alone would repeat itself after Redis lost its last second, or everything, and a worker
-- from before would then hold the token of a window that is not its own.
local token = redis.call('INCR', KEYS[5]) .. '-' .. a.random
chosen_id = chosen_id or ('w' .. token)
chosen.t, chosen.d = token, now + a.lease_ms
redis.call('HSET', windows, chosen_id, cjson.encode(chosen))
if ranges then redis.call('HSET', feed, 'ranges', ranges_json(ranges)) end
if deferred then
  redis.call('HSET', feed, 'deferred', ranges_json(deferred), 'deferred_cursor_ms', whole(chosen.s),
    'deferred_not_before_ms', whole(now + a.lease_ms), 'deferred_wait_ms', whole(a.lease_ms))
end
return {chosen_id, chosen.s, chosen.e, token, chosen.a}
