-- Says that a node is alive.
--
-- KEYS 1 nodes
-- ARGV 1 node  2 ttl ms
-- Returns 1, or 0 when its lease was over or it never had one.

local now = now_ms()
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[2])), ARGV[1])
return (lease and tonumber(lease) > now) and 1 or 0
