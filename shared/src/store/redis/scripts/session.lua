-- Reads a session, and whether something has been committed.
--
-- KEYS 1 session  2 once (if that is asked)
-- Returns {session fields, 1 if it has been committed else 0, history}.

if not is_primary() then
  return redis.error_reply('READONLY a session is read on the primary')
end
local is_known = KEYS[2] and redis.call('EXISTS', KEYS[2]) or 0
return {redis.call('HGETALL', KEYS[1]), is_known, history_of({})}
