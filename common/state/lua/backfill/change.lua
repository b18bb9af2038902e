-- Pause, resume or cancel a backfill. What is extracted of it stays loaded.
--
-- KEYS 1 backfill, 2 parts of backfills, 3.. two for each of its parts: part, its open windows
-- a    state (that it is to have), parts (their names, in order)
-- Returns 1, or 0 where there is no such backfill or it was cancelled.
local backfill, names = KEYS[1], KEYS[2]
local state = redis.call('HGET', backfill, 'state')
if not state or state == 'cancelled' then return 0 end
redis.call('HSET', backfill, 'state', a.state)
if a.state ~= 'cancelled' then return 1 end
local cancelled = 0
for i, name in ipairs(a.parts) do
  local part, windows = KEYS[2 * i + 1], KEYS[2 * i + 2]
  local origin, head = unpack(redis.call('HMGET', part, 'origin_ms', 'head_ms'))
  if origin then
    local left_out = ranges_of(part, 'left_out')
    for _, range in ipairs(merged(to_extract(part, windows))) do
      left_out[#left_out + 1] = range
      cancelled = cancelled + range[2] - range[1]
    end
    redis.call('DEL', windows)
    if #without({{tonumber(origin), tonumber(head)}}, left_out) == 0 then
      redis.call('DEL', part)
      redis.call('SREM', names, name)
    else
      redis.call('HSET', part, 'left_out', ranges_json(left_out), 'ranges', '[]')
      redis.call('HDEL', part, 'deferred')
    end
  end
end
redis.call('HINCRBY', backfill, 'cancelled_ms', whole(cancelled))
return 1
