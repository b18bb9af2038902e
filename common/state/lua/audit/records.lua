-- One step of looking for records whose entry or dead letter somebody deleted.
--
-- KEYS 1 the records, 2 their stream, 3 dead letters that are only counted (of dead letters)
-- a    cursor (of HSCAN), most (records)
-- Returns {cursor to go on from, or 0 at the end; id, record, … of those without}. A record may come twice.
local scanned = redis.call('HSCAN', KEYS[1], a.cursor, 'COUNT', a.most)
local found, flat = {scanned[1]}, scanned[2]
for i = 1, #flat, 2 do
  local id = flat[i]
  local is_there = string.find(id, '^%d+%-%d+$') and #redis.call('XRANGE', KEYS[2], id, id) == 1
  is_there = is_there or KEYS[3] and redis.call('HEXISTS', KEYS[3], id) == 1
  if not is_there then
    found[#found + 1], found[#found + 2] = id, flat[i + 1]
  end
end
return found
