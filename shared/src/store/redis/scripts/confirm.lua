-- Writes something, so that a WAIT on the same connection waits for all that was written before.
--
-- KEYS 1 anything on this server
-- Returns the history that this server writes.

redis.call('SET', KEYS[1], '', 'PX', 60000)
return history_of({})
