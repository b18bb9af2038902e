-- What several scripts need; common/state/scripts.py puts it before each of them.

-- The time in ms: `given`, or the server's clock where it is ''.
local function clock_ms(given)
  local now = tonumber(given)
  if now then return now end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A flat reply {field, value, …} as a table.
local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Whether a key holds what it should, or nothing.
local function has_type(key, wanted)
  local found = redis.call('TYPE', key).ok
  return found == wanted or found == 'none'
end

-- A number of samples or bytes as it stands in a field, or nil where that holds something else: what
-- somebody else wrote may be no number, or one that JSON cannot spell.
local function count_of(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end

-- What Redis' memory grows by for so many bytes: jemalloc hands out blocks of certain sizes, four to each
-- power of two (https://jemalloc.net/jemalloc.3.html, size classes). Its twin is tests/doubles/size_classes.py.
local function allocated(bytes)
  if bytes <= 16 then return 16 end
  local _, bits = math.frexp(bytes - 1)
  local step = math.max(16, 2 ^ (bits - 3))
  return math.ceil(bytes / step) * step
end

-- Whole numbers beyond 2^31 as Redis should read them.
local function whole(number) return string.format('%.0f', number) end

-- Ranges {first, last} in order, those that touch made one.
local function merge(ranges)
  table.sort(ranges, function(a, b) return a[1] < b[1] end)
  local merged = {}
  for _, range in ipairs(ranges) do
    local last = merged[#merged]
    if last and range[1] <= last[2] then
      last[2] = math.max(last[2], range[2])
    else
      merged[#merged + 1] = range
    end
  end
  return merged
end

-- Append a gap, or lengthen the last one where they touch: a source that stays empty for long must not
-- fill the list window by window.
local function declare_gap(list, first, last, reason, now)
  local json = redis.call('LINDEX', list, -1)
  local gap = json and cjson.decode(json)
  if gap and gap.reason == reason and first <= gap.e and gap.s <= last then
    gap.s, gap.e, gap.at = math.min(gap.s, first), math.max(gap.e, last), now
    redis.call('LSET', list, -1, cjson.encode(gap))
  else
    redis.call('RPUSH', list, cjson.encode({s = first, e = last, reason = reason, at = now}))
  end
end

-- cjson writes an empty table as an object.
local function ranges_json(ranges) return #ranges == 0 and '[]' or cjson.encode(ranges) end
