-- Count a page of dead letters by stage and reason; their payloads are not looked at.
-- Returns JSON: {length = letters in all, last = id of the page's last ('' if there is none),
-- more = whether the page was full, counts = {'stage|reason': {letters, samples}}}.
--
-- KEYS 1 dead letters
-- ARGV 1 the id after which to begin ('' = at the oldest), 2 most letters
local start, most = '-', tonumber(ARGV[2])
if ARGV[1] ~= '' then start = '(' .. ARGV[1] end
local page = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', most)
local counts = {}
for _, letter in ipairs(page) do
  local fields = pairs_of(letter[2])
  local name = (fields.stage or '') .. '|' .. (fields.reason or '')
  local held = counts[name] or {0, 0}
  held[1], held[2] = held[1] + 1, held[2] + (count_of(fields.samples) or 0)
  counts[name] = held
end
return cjson.encode({
  length = redis.call('XLEN', KEYS[1]),
  last = #page > 0 and page[#page][1] or ARGV[1],
  more = #page == most,
  counts = counts,
})
