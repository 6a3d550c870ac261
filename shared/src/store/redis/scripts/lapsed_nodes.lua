-- The nodes whose lease is over.
--
-- KEYS 1 nodes
-- Returns their ids.

return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', integer(now_ms()))
