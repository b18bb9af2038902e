-- Lease the next window of a feed: an open one whose lease is free or ran out, else one newly cut
-- from the backlog, newest first.
-- Returns {} or {window id, start, end, token, attempts, class}.
--
-- KEYS 1 feed, 2 open windows, 3 token counter
-- ARGV 1 fingerprint, 2 class (live or catchup), 3 live horizon (ms back from the head),
--      4 longest window (ms), 5 now (ms; '' = the server's clock), 6 lease (ms), 7 most open windows,
--      8 a random word
local feed, windows = KEYS[1], KEYS[2]
local class, horizon, longest = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock_ms(ARGV[5])
if redis.call('HGET', feed, 'fingerprint') ~= ARGV[1] then return {} end
if (tonumber(redis.call('HGET', feed, 'not_before_ms')) or 0) > now then return {} end

local chosen, chosen_id, open = nil, nil, 0
local flat = redis.call('HGETALL', windows)
for i = 1, #flat, 2 do
  open = open + 1
  local window = cjson.decode(flat[i + 1])
  local free = (window.t == '' or window.d <= now) and window.nb <= now
  if free and window.c == class and (not chosen or window.e > chosen.e) then
    chosen, chosen_id = window, flat[i]
  end
end

local ranges = nil
if not chosen then
  if open >= tonumber(ARGV[7]) then return {} end
  ranges = cjson.decode(redis.call('HGET', feed, 'ranges') or '[]')
  local border = tonumber(redis.call('HGET', feed, 'head_ms')) - horizon
  for i = #ranges, 1, -1 do
    local first, last = ranges[i][1], ranges[i][2]
    local lower, upper = first, last
    if class == 'live' then lower = math.max(first, border) else upper = math.min(last, border) end
    if lower < upper then
      local cut = math.max(lower, upper - longest)
      chosen = {s = cut, e = upper, c = class, t = '', d = 0, nb = 0, a = 0}
      local rest = {}
      for j = 1, i - 1 do rest[#rest + 1] = ranges[j] end
      if first < cut then rest[#rest + 1] = {first, cut} end
      if upper < last then rest[#rest + 1] = {upper, last} end
      for j = i + 1, #ranges do rest[#rest + 1] = ranges[j] end
      ranges = rest
      break
    end
  end
  if not chosen then return {} end
end

-- A counter alone would repeat itself after Redis lost its last second, or everything, and a worker
-- from before would then hold the token of a window that is not its own.
local token = redis.call('INCR', KEYS[3]) .. '-' .. ARGV[8]
chosen_id = chosen_id or ('w' .. token)
chosen.t, chosen.d = token, now + tonumber(ARGV[6])
redis.call('HSET', windows, chosen_id, cjson.encode(chosen))
if ranges then redis.call('HSET', feed, 'ranges', ranges_json(ranges)) end
return {chosen_id, whole(chosen.s), whole(chosen.e), token, chosen.a, chosen.c}
