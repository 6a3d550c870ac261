-- Says that a worker is alive, and returns all that are.
--
-- KEYS 1 workers
-- ARGV 1 worker  2 ttl ms

local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', integer(now))
redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[2])), ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
