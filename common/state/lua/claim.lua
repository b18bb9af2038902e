-- Take over entries that were released, or whose worker died.
--
-- KEYS 1..4 stream, its in-flight records, crashes, released, 5 the latest time seen, and behind a blank where leases
--      are to go on to be renewed
-- a    group, consumer, released (the consumer that holds what was released), lease_ms, most (entries),
--      cursors (where the walks through what was released and what is leased are to go on; '-' at first),
--      from_head (whether what was released is looked through from the oldest on, this time)
-- Returns {entries taken: {{id, crashes, {field, value, …}}, …}, ids found deleted while pending, the next cursors,
--          1 where nothing is pending and there is no other worker, so that nothing can be taken over soon, else 0}.
--
-- A release does not count as a crash; a lease that ran out under another worker does. An entry
-- with a crash behind it is a suspect and is handed out alone, so that its neighbours do not die with it.
local stream, crashes, released = KEYS[1], KEYS[3], KEYS[4]
local now = clock_ms()
local taken, deleted = {}, {}

local function crashes_of(id) return tonumber(redis.call('HGET', crashes, id)) or 0 end

local function take(id, times_crashed)
  local found = redis.call('XRANGE', stream, id, id)
  redis.call('HDEL', released, id)
  if #found == 0 then
    redis.call('XACK', stream, a.group, id)
    deleted[#deleted + 1] = id
    return
  end
  redis.call('XCLAIM', stream, a.group, a.consumer, 0, id, 'JUSTID')
  taken[#taken + 1] = {id, times_crashed, found[1][2]}
end

-- Pages through pending entries (all that XPENDING takes before its range is in `filter`), once around from where the
-- walk ended the last time: neither many which must wait nor many which come back at once hide those behind them. It ends
-- where `visit` returns AFTER or AT, and goes on after that entry or at it; that of RENEWED ends at the last one. Returns
-- whether that was reached.
local PAGE, MOST_PAGES = 100, 100
local AFTER, AT = 'after', 'at'
local RELEASED, LEASED, RENEWED = 1, 2, 3
local function each(walk, filter, owner, visit)
  local begun = a.cursors[walk]
  local start, last, reached = begun, '+', false
  for _ = 1, MOST_PAGES do
    local args = {'XPENDING', stream, a.group}
    for _, word in ipairs(filter) do args[#args + 1] = word end
    for _, word in ipairs({start, last, PAGE}) do args[#args + 1] = word end
    if owner then args[#args + 1] = owner end
    local page = redis.call(unpack(args))
    for _, pending in ipairs(page) do
      local ends = visit(pending[1], pending[2])
      if ends then
        a.cursors[walk] = ends == AT and pending[1] or '(' .. pending[1]
        return reached
      end
    end
    if #page == PAGE then
      start = '(' .. page[PAGE][1]
    else
      reached = true
      start = '-'
      if begun == '-' or last ~= '+' or walk == RENEWED then break end
      last = string.match(begun, '[%d-]+')
    end
  end
  a.cursors[walk] = start
  return reached
end

-- Where the clock has gone back, Redis believes that a lease began in the future, and it would last as long as the
-- step: each begins anew. All workers go on with one walk, which begins again when the clock goes back meanwhile: what
-- it renewed until then, or somebody took, began in the future again. The time is noted now and then, with each part of
-- a walk, and never instead of what follows at maxmemory.
local noted = redis.call('GET', KEYS[5]) or ''
local seen, goes_on = tonumber(string.match(noted, '^%d+')) or 0, string.match(noted, '^%d+ (%(%d+%-%d+)$')
if now < seen or goes_on then
  a.cursors[RENEWED] = now >= seen and goes_on or '-'
  local ended = each(RENEWED, {}, nil, function(id, owner)
    if #redis.call('XRANGE', stream, id, id) == 1 then
      redis.call('XCLAIM', stream, a.group, owner, 0, id, 'JUSTID')
    end
  end)
  redis.pcall('SET', KEYS[5], whole(now) .. (ended and '' or ' ' .. a.cursors[RENEWED]))
  a.cursors[RENEWED] = nil
elseif now - seen >= 5000 then
  redis.pcall('SET', KEYS[5], whole(now))
end

local function waits(id)
  local until_ms, wait = string.match(redis.call('HGET', released, id) or '', '^(%d+) ?(%d*)$')
  until_ms = tonumber(until_ms) or 0
  if until_ms <= now then return false end
  local sooner = ends_at(until_ms, tonumber(wait), now)
  if sooner < until_ms then redis.pcall('HSET', released, id, whole(sooner) .. ' ' .. wait) end
  return true
end

local suspect, goes_on = nil, a.cursors[RELEASED]
if a.from_head then a.cursors[RELEASED] = '-' end
each(RELEASED, {}, a.released, function(id)
  if waits(id) then return end
  local times_crashed = crashes_of(id)
  if times_crashed == 0 then
    take(id, 0)
    return #taken >= a.most and AFTER
  end
  if #taken > 0 then
    suspect = suspect or id
    return
  end
  take(id, times_crashed)
  return #taken > 0 and AFTER
end)
if suspect then a.cursors[RELEASED] = suspect end
if a.from_head then a.cursors[RELEASED] = goes_on end
if #taken > 0 then return {taken, deleted, a.cursors, 0} end

-- XPENDING's IDLE filter follows the server's clock, which is the clock that leases run by.
each(LEASED, {'IDLE', a.lease_ms}, nil, function(id, owner)
  if owner == a.released then return end
  if owner == a.consumer or #redis.call('XRANGE', stream, id, id) == 0 then
    take(id, crashes_of(id))
    return #taken >= a.most and AFTER
  end
  if #taken > 0 then return AT end
  -- HDEL passes at maxmemory, and what follows it in a script passes too: what a dead worker held
  -- must be taken over even then, or nothing would ever free memory again.
  redis.call('HDEL', released, id)
  take(id, redis.call('HINCRBY', crashes, id, 1))
  return AFTER
end)

local function is_alone()
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, a.group)) do
    local consumer = pairs_of(flat)
    if consumer.pending > 0 then return false end
    if consumer.name ~= a.consumer and consumer.name ~= a.released then return false end
  end
  return true
end
return {taken, deleted, a.cursors, #taken == 0 and is_alone() and 1 or 0}
