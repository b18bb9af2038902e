-- Give a dead letter up for good: its samples become a counted drop.
-- Returns ok; gone when there is no such letter any more; wrong_type when the ledger is no hash.
--
-- KEYS 1 dead letters, 2 the letter's payload, 3 ledger, 4 held dead letters
-- ARGV 1 letter id
--
-- XDEL first: giving up must work at maxmemory, and what follows it in a script passes too.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return 'gone' end
local letter = pairs_of(found[1][2])
-- A foreign entry of the stream has no books: it is only removed.
local samples = count_of(letter.samples)
if not has_type(KEYS[3], 'hash') or not has_type(KEYS[4], 'hash') then return 'wrong_type' end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
if KEYS[2] ~= '' then redis.call('UNLINK', KEYS[2]) end
if not samples or not string.match(letter.feed or '', '^[%w_]+@[%w_]+$') then return 'ok' end
redis.call('HINCRBY', KEYS[3], letter.feed .. '|dead_lettered', 0 - samples)
redis.call('HINCRBY', KEYS[3], letter.feed .. '|dropped|purged', samples)
return 'ok'
