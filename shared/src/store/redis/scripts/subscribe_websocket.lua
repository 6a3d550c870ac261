-- Writes a new WebSocket subscription.
--
-- KEYS 1 subscription  2 sockets of the topic  3 session
-- ARGV 1 id  2 topic  3 record  4 lease ms  5 limit
-- Returns 'accepted' or 'too many'.

local now = now_ms()
local lease = tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', integer(now))
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
  return 'too many'
end
redis.call('HSET', KEYS[1], 'channel', 'websocket', 'topic', ARGV[2], 'record', ARGV[3], 'expires', integer(now + lease))
redis.call('PEXPIRE', KEYS[1], integer(lease + AFTERLIFE))
redis.call('ZADD', KEYS[2], integer(now + lease), ARGV[1])
keep(KEYS[2], lease)
keep(KEYS[3], lease)
return 'accepted'
