-- Count a page of dead letters by stage and reason; their payloads are not read.
--
-- KEYS 1 dead letters
-- a    after (the id after which to begin; '' = at the oldest), most (dead letters)
-- Returns JSON: {length = dead letters in all, last = id of the page's last ('after' if there is none),
-- more = whether the page was full, counts = {'stage|reason': {dead letters, samples}}}.
local page = redis.call('XRANGE', KEYS[1], a.after == '' and '-' or '(' .. a.after, '+', 'COUNT', a.most)
local counts = {}
for _, letter in ipairs(page) do
  local fields = pairs_of(letter[2])
  local name = (fields.stage or '') .. '|' .. (fields.reason or '')
  local count = counts[name] or {0, 0}
  count[1], count[2] = count[1] + 1, count[2] + (count_of(fields.samples) or 0)
  counts[name] = count
end
return cjson.encode({
  length = redis.call('XLEN', KEYS[1]),
  last = #page > 0 and page[#page][1] or a.after,
  more = #page == a.most,
  counts = counts,
})
