-- Lets go of a WebSocket subscription: it may be taken again within the grace.
--
-- KEYS 1 subscription  2 sockets of the topic
-- ARGV 1 id  2 connection  3 grace ms
-- Returns 1, or 0 when that connection does not hold it.

if redis.call('HGET', KEYS[1], 'connection') ~= ARGV[2] then
  return 0
end
local now = now_ms()
local stays = math.min(tonumber(ARGV[3]), lease_left(KEYS[1], now))
redis.call('HDEL', KEYS[1], 'connection', 'node')
redis.call('HSET', KEYS[1], 'grace', integer(now + stays))
redis.call('PEXPIRE', KEYS[1], integer(stays + AFTERLIFE))
redis.call('ZADD', KEYS[2], integer(now + stays), ARGV[1])
return 1
