-- Forgets a node, unless it is alive again.
--
-- KEYS 1 nodes
-- ARGV 1 node

local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) <= now_ms() then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
