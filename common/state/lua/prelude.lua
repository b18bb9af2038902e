-- What several scripts need; common/state/scripts.py puts it before each of them.
--
-- `a` holds a script's arguments by name; each script's header lists them. Payloads are not among
-- them: they follow as they are, in ARGV[2] and on. In every script `a.now_ms` replaces the server's clock.
local a = cjson.decode(ARGV[1])

-- What an entry costs Redis beside its payload (stream node, hash field, pending record, key), measured on
-- 7.0; counted so that many small entries press back like few large ones. Its twin is in tests/doubles/size_classes.py.
local ENTRY_OVERHEAD_BYTES = 512

local function clock_ms()
  if a.now_ms then return a.now_ms end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- When a wait ends that was to end at `until_ms`, where it was `wait_ms` long: Redis' clock may have gone back
-- since, and the wait would be longer by as much. What was stored without its length is given ten minutes.
local function ends_at(until_ms, wait_ms, now) return math.min(until_ms, now + (wait_ms or 600000)) end

-- A flat reply {field, value, …} as a table.
local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Whether each key of {key = type} holds what it should, or nothing.
local function have_types(wanted)
  for key, type in pairs(wanted) do
    local found = redis.call('TYPE', key).ok
    if found ~= type and found ~= 'none' then return false end
  end
  return true
end

-- A number of samples or bytes as it stands in a field, or nil where that holds something else: what
-- somebody else wrote may be no number, or one that JSON cannot spell.
local function count_of(text)
  return text and #text < 16 and string.find(text, '^%d+$') and tonumber(text) or nil
end

-- Whole numbers beyond 2^31 as Redis should read them.
local function whole(number) return string.format('%.0f', number) end

-- A query in a tier, or a query of one of several sources in a tier.
local function is_feed(text)
  return text and (string.match(text, '^[%w_:]+@[%w_]+$') or string.match(text, '^[%w_:]+@[%w_]+@[%w_]+$')) ~= nil
end

-- Dead letters of one cause, as the field of a hash.
local function dead_group(stage, reason, feed, measurement)
  return cjson.encode({stage or '', reason or '', feed or '', measurement or ''})
end

-- Add samples to a window {start, end, samples} of a list in order. Of too many, the oldest become one range.
local function add_to_window(windows, first, last, samples, most)
  for i = #windows, 1, -1 do
    if windows[i][1] == first and windows[i][2] == last then
      windows[i][3] = windows[i][3] + samples
      return
    end
  end
  windows[#windows + 1] = {first, last, samples}
  table.sort(windows, function(left, right) return left[1] < right[1] end)
  if #windows > most then
    local oldest = table.remove(windows, 1)
    windows[1] = {oldest[1], math.max(oldest[2], windows[1][2]), oldest[3] + windows[1][3]}
  end
end

-- Note what was purged of a feed, as windows {start, end, samples}. What somebody else wrote there is replaced.
local function note_purged(purged, feed, windows)
  local is_ours, noted = pcall(function()
    local list = cjson.decode(redis.call('HGET', purged, feed) or '[]')
    for _, window in ipairs(windows) do add_to_window(list, window[1], window[2], window[3], 200) end
    return list
  end)
  redis.call('HSET', purged, feed, cjson.encode(is_ours and noted or windows))
end

-- What is extracted anew is no purged sample any more: (first, last] is taken out of the ranges of a feed. Of one that goes
-- beyond it on both sides the longer side stays; one of any time (common/state/dead_letters/purged.py) stays whole.
local function forget_purged(purged, feed, first, last)
  local is_ours, kept = pcall(function()
    local kept = {}
    for _, range in ipairs(cjson.decode(redis.call('HGET', purged, feed) or '[]')) do
      local start, stop = range[1], range[2]
      if start < last and stop > first and stop < 99999999999999 then
        if first - start >= stop - last then stop = first else start = last end
      end
      if start < stop then kept[#kept + 1] = {start, stop, range[3]} end
    end
    return kept
  end)
  if not is_ours then return end
  if #kept > 0 then redis.call('HSET', purged, feed, cjson.encode(kept)) else redis.call('HDEL', purged, feed) end
end

-- One dead letter of its group less is kept.
local function forget_kept(dead_kept, letter)
  local group = dead_group(letter.stage, letter.reason, letter.feed, letter.measurement)
  if redis.call('HEXISTS', dead_kept, group) == 1 and redis.call('HINCRBY', dead_kept, group, -1) <= 0 then
    redis.call('HDEL', dead_kept, group)
  end
end

-- The in-flight record of an entry: {samples, bytes, feed, window, payload key} as one text.
local function pack_record(samples, bytes, feed, window, key)
  return string.format('%.0f %.0f %s %s %s', samples, bytes, feed, window == '' and '-' or window, key)
end

-- The reverse, as five values; nothing where the record is damaged.
local function unpack_record(text)
  local samples, bytes, feed, window, key = string.match(text, '^(%d+) (%d+) (%S+) (%S+) (%S+)$')
  samples, bytes = count_of(samples), count_of(bytes)
  if not samples or not bytes then return end
  return samples, bytes, feed, window == '-' and '' or window, key
end

-- Its samples and bytes alone, which costs half as much; 0 where the record is damaged.
local function sizes_of_record(text)
  local samples, bytes = string.match(text, '^(%d+) (%d+) ')
  return tonumber(samples) or 0, tonumber(bytes) or 0
end

-- Append an entry whose payload lies under `key` already, and record it as in flight.
-- `origin` tells its query, tier, kind and window, the bounds of that, and the feed whose ledger counts its samples.
local function append_entry(stream, in_flight, origin, samples, payload_bytes, key, digest)
  local fields = {'schema', '1', 'query', origin.query, 'tier', origin.tier,
    'kind', origin.kind, 'window', origin.window, 'samples', whole(samples), 'payload', key}
  local function add(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  if origin.replayed then add('replayed', '1') end
  if origin.start_ms then
    add('start_ms', whole(origin.start_ms))
    add('end_ms', whole(origin.end_ms))
  end
  if digest and digest ~= '' then add('digest', digest) end
  local id = redis.call('XADD', stream, '*', unpack(fields))
  redis.call('HSET', in_flight, id,
    pack_record(samples, payload_bytes + ENTRY_OVERHEAD_BYTES, origin.feed, origin.window, key))
end

-- What the seals of windows need. A seal that is not settled yet lies under `feed end_ms`, as the sink will have it, of
-- the window that was committed last: {window, how many of its entries are not settled, when it was committed, points
-- and digest of what was loaded of it so far}. An unknown digest is UNKNOWN, and remains so.
local UNKNOWN, NO_DIGEST = '-', string.rep('0', 32)
local function seal_field(feed, end_ms) return feed .. ' ' .. whole(end_ms) end
local function pack_seal(window, entries, committed_ms, points, digest)
  return string.format('%s %.0f %.0f %.0f %s', window, entries, committed_ms, points, digest)
end
local function unpack_seal(text)
  local window, entries, committed_ms, points, digest = string.match(text or '', '^(%S+) (%d+) (%d+) (%d+) ([-%x]+)$')
  if digest ~= UNKNOWN and not (digest and string.find(digest, '^%x+$') and #digest == 32) then return end
  return window, tonumber(entries), tonumber(committed_ms), tonumber(points), digest
end
-- A seal that is to be written to the sink.
local function due_seal(start_ms, points, digest, sealed_ms, window)
  return string.format('%.0f %.0f %s %.0f %s', start_ms, points, digest, sealed_ms, window)
end

-- The sizes in bytes of all payloads that are staged now.
local function staged_sizes(staged, now)
  local sizes = {}
  for i, member in ipairs(redis.call('ZRANGEBYSCORE', staged, '(' .. whole(now), '+inf')) do
    sizes[i] = tonumber(string.match(member, ' (%d+)$')) or 0
  end
  return sizes
end

-- The open window `a.window`, or nil where the caller's lease or configuration is not its own any more.
local function leased_window(feed, windows)
  local json = redis.call('HGET', windows, a.window)
  local window = json and cjson.decode(json)
  if not window or window.t ~= a.token or redis.call('HGET', feed, 'fingerprint') ~= a.fingerprint then return nil end
  return window
end

-- The bounds {start, end} of a feed's open windows, in no order.
local function open_ranges(windows)
  local ranges = {}
  for i, json in ipairs(redis.call('HVALS', windows)) do
    local window = cjson.decode(json)
    ranges[i] = {window.s, window.e}
  end
  return ranges
end

-- Time of a feed that is to be extracted, as its fields `ranges` (the backlog) and `deferred` keep it: ranges
-- {start, end, round} in order. The round says how many recounts that time had (none where it is left out).
local function parse_ranges(json) return cjson.decode(json or '[]') end
local function ranges_of(feed, field) return parse_ranges(redis.call('HGET', feed, field)) end

-- In order, ranges that touch made one, so that any length costs a few bytes.
local function merged(ranges, same_round)
  table.sort(ranges, function(left, right) return left[1] < right[1] end)
  local found = {}
  for _, range in ipairs(ranges) do
    local last = found[#found]
    if last and range[1] <= last[2] and (not same_round or (last[3] or 0) == (range[3] or 0)) then
      last[2] = math.max(last[2], range[2])
    else
      found[#found + 1] = {range[1], range[2], same_round and range[3] or nil}
    end
  end
  return found
end

-- What of some ranges lies in none of others, in order.
local function without(ranges, others)
  others = merged(others)
  local left = {}
  for _, range in ipairs(merged(ranges)) do
    local cursor, last = range[1], range[2]
    for _, other in ipairs(others) do
      if other[1] >= last then break end
      if cursor < other[1] then left[#left + 1] = {cursor, other[1]} end
      cursor = math.max(cursor, other[2])
    end
    if cursor < last then left[#left + 1] = {cursor, last} end
  end
  return left
end

-- Ranges as they are kept; cjson writes an empty table as an object.
local function ranges_json(ranges)
  local found = merged(ranges, true)
  return #found == 0 and '[]' or cjson.encode(found)
end

-- The time of a window as a range of it.
local function range_of(window) return {window.s, window.e, window.r} end

-- A recheck as it is kept: a committed range {s, e}; what the source had of it then, as a number of samples and the
-- halves of a digest; how many recounts it had, how many it had when it was committed, how often the next one failed.
local function pack_recheck(it)
  return string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f', it.s, it.e, it.samples, it.low, it.high, it.round,
    it.since, it.failures)
end
local function parse_recheck(member)
  local numbers = {}
  for number in string.gmatch(member, '%d+') do numbers[#numbers + 1] = tonumber(number) end
  local s, e, samples, low, high, round, since, failures = unpack(numbers)
  return {s = s, e = e, samples = samples, low = low, high = high, round = round, since = since, failures = failures}
end

-- What of the time of a feed, or of its part of a backfill, is still to be extracted.
local function to_extract(feed, windows)
  local ranges = open_ranges(windows)
  for _, field in ipairs({'ranges', 'deferred'}) do
    for _, range in ipairs(ranges_of(feed, field)) do ranges[#ranges + 1] = {range[1], range[2]} end
  end
  return ranges
end

-- How long to wait after so many attempts that failed in a row: twice as long each time.
local function wait_ms(attempts) return math.min(a.longest_ms, a.shortest_ms * 2 ^ math.min(attempts, 30)) end

-- Nothing of the feed is leased for a while, until a window of it is committed.
local function hold_feed(feed, now)
  local attempts = tonumber(redis.call('HGET', feed, 'attempts')) or 0
  local wait = wait_ms(attempts)
  redis.call('HSET', feed, 'not_before_ms', whole(now + wait), 'wait_ms', whole(wait), 'attempts', attempts + 1)
end

-- What was deferred is backlog again.
local function release_deferred(feed)
  local ranges = ranges_of(feed, 'ranges')
  for _, range in ipairs(ranges_of(feed, 'deferred')) do ranges[#ranges + 1] = range end
  redis.call('HSET', feed, 'ranges', ranges_json(ranges))
  redis.call('HDEL', feed, 'deferred', 'deferred_attempts', 'deferred_not_before_ms', 'deferred_wait_ms',
    'deferred_step_ms', 'deferred_cursor_ms')
end

-- When configurations of a feed came into force, as plan.lua notes it; empty where somebody else wrote there.
local function changes_in(history)
  local is_ours, changes = pcall(function()
    local list = cjson.decode(redis.call('HGET', history, 'changes') or '[]')
    for i in pairs(list) do assert(list[i].id and i <= #list and type(list[i].to_do or {}) == 'table') end
    return list
  end)
  return is_ours and changes or {}
end

-- These ranges are extracted (again) under the configuration that is in force now.
local function note_to_do(history, ranges)
  local changes = changes_in(history)
  local last = changes[#changes]
  if #changes < 2 or #ranges == 0 then return end
  local to_do = last.to_do or {}
  for _, range in ipairs(ranges) do to_do[#to_do + 1] = range end
  last.to_do = merged(to_do)
  redis.call('HSET', history, 'changes', cjson.encode(changes))
end

-- These ranges of a feed are to be compared with the source again, however soon they are extracted and settled
-- (common/state/proven.py). Of very many the oldest become one.
local MOST_REOPENED = 200
local function note_reopened(feed, ranges)
  if #ranges == 0 then return end
  local is_ours, noted = pcall(function()
    local kept = redis.call('HGET', feed, 'reopened')
    local list = parse_ranges(kept ~= '' and kept)
    for _, range in ipairs(ranges) do list[#list + 1] = {range[1], range[2]} end
    return merged(list)
  end)
  if not is_ours then noted = merged(ranges) end
  while #noted > MOST_REOPENED do
    noted[2][1] = noted[1][1]
    table.remove(noted, 1)
  end
  redis.call('HSET', feed, 'reopened', cjson.encode(noted))
end

-- What of these ranges of a feed, between its origin and its head, is neither open nor in the backlog.
local function not_waiting(feed, windows, ranges, origin)
  local others = to_extract(feed, windows)
  others[#others + 1] = {-math.huge, origin}
  others[#others + 1] = {tonumber(redis.call('HGET', feed, 'head_ms')), math.huge}
  return without(ranges, others)
end

-- These ranges of a feed are backlog (again), after so many recounts; how many ms.
local function put_back(feed, history, opened, round)
  local ranges, added = ranges_of(feed, 'ranges'), 0
  for _, range in ipairs(opened) do
    ranges[#ranges + 1] = {range[1], range[2], round > 0 and round or nil}
    added = added + range[2] - range[1]
  end
  note_to_do(history, opened)
  note_reopened(feed, opened)
  redis.call('HSET', feed, 'ranges', ranges_json(ranges))
  return added
end

-- Begin a feed's part of a backfill: ranges before its origin, at least one. `it` has what backfill/create.lua is given
-- of them. Returns how many ms.
local function begin_part(feed, history, backfill, ids, parts, part, it, ranges)
  local first, last, total = ranges[1][1], ranges[#ranges][2], 0
  for _, range in ipairs(ranges) do total = total + range[2] - range[1] end
  local now = whole(clock_ms())
  redis.call('HSET', part, 'fingerprint', it.fingerprint, 'origin_ms', whole(first), 'head_ms', whole(last), 'ranges',
    ranges_json(ranges), 'left_out', ranges_json(without({{first, last}}, ranges)), 'planned_ms', now)
  redis.call('SADD', parts, it.part)
  for i = 1, #it.fields, 2 do redis.call('HSETNX', backfill, it.fields[i], it.fields[i + 1]) end
  redis.call('HSETNX', backfill, 'created_ms', now)
  redis.call('HINCRBY', backfill, 'total_ms', whole(total))
  redis.call('SADD', ids, it.id)
  note_to_do(history, ranges)
  note_reopened(feed, ranges)
  return total
end

-- Have ranges of a feed extracted again in the same step as something else: those before its origin by a backfill of their
-- own. `keys` and `it` are those of common/state/again.py. Returns what writes that; or nil where the feed has gone, and
-- 'wrong_type' with it where a key holds something else.
local function extracted_again(keys, it, ranges)
  local feed, windows, history, backfill, ids, parts, part = unpack(keys)
  if not have_types({[feed] = 'hash', [windows] = 'hash', [history] = 'hash', [backfill] = 'hash', [ids] = 'set',
      [parts] = 'set', [part] = 'hash'}) then
    return nil, 'wrong_type'
  end
  local fingerprint, origin = unpack(redis.call('HMGET', feed, 'fingerprint', 'origin_ms'))
  if not fingerprint then return nil end
  local opened = not_waiting(feed, windows, ranges, tonumber(origin))
  local older = without(ranges, {{tonumber(origin), math.huge}})
  it.fingerprint = fingerprint
  return function()
    put_back(feed, history, opened, it.round)
    if #older > 0 then begin_part(feed, history, backfill, ids, parts, part, it, older) end
  end
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
