-- Have the verifier compare a range of a feed with the source again, although nothing of it is extracted again.
--
-- KEYS 1 feed
-- a    start_ms, end_ms
-- Returns 1, or 0 where there is no such feed.
if redis.call('HEXISTS', KEYS[1], 'fingerprint') == 0 then return 0 end
note_reopened(KEYS[1], {{a.start_ms, a.end_ms}})
return 1
