-- Take a dead letter up again: it becomes an entry of the stream of the stage that refused it.
-- Returns ok; gone when there is no such letter any more; malformed when it is none of ours.
--
-- KEYS 1 dead letters, 2 the letter's payload, 3 stream, 4 in-flight, 5 ledger, 6 unsettled, 7 payload of the new entry,
--      8 held dead letters
-- ARGV 1 letter id, 2 payload of the new entry, 3 overhead of an entry (bytes)
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return 'gone' end
local letter = pairs_of(found[1][2])
local samples = count_of(letter.samples)
if not samples or not letter.query or not letter.tier or not letter.kind or not letter.window
    or not string.match(letter.feed or '', '^[%w_]+@[%w_]+$') or string.find(letter.window, '%s') then
  return 'malformed'
end
for key, wanted in pairs({[KEYS[3]] = 'stream', [KEYS[4]] = 'hash', [KEYS[5]] = 'hash', [KEYS[6]] = 'hash', [KEYS[8]] = 'hash'}) do
  if not has_type(key, wanted) then return 'wrong_type' end
end
redis.call('SET', KEYS[7], ARGV[2])
local id = redis.call('XADD', KEYS[3], '*', 'schema', '1', 'query', letter.query, 'tier', letter.tier,
  'kind', letter.kind, 'window', letter.window, 'samples', letter.samples, 'payload', KEYS[7])
redis.call('HSET', KEYS[4], id, samples .. ' ' .. (#ARGV[2] + tonumber(ARGV[3])) .. ' ' .. letter.feed .. ' '
  .. (letter.window == '' and '-' or letter.window) .. ' ' .. KEYS[7])
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[8], ARGV[1])
if KEYS[2] ~= '' then redis.call('UNLINK', KEYS[2]) end
redis.call('HINCRBY', KEYS[5], letter.feed .. '|dead_lettered', 0 - samples)
-- Its window, if others of its entries are still under way, now waits for this one too.
if redis.call('HEXISTS', KEYS[6], letter.window) == 1 then redis.call('HINCRBY', KEYS[6], letter.window, 1) end
return 'ok'
