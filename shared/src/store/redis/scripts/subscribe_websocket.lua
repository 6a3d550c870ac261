-- Writes a new WebSocket subscription.
--
-- KEYS 1 to 5 the topic  6 subscription  7 sockets of the topic  8 leases
-- ARGV 1 to 3 retention  4 id  5 topic  6 record  7 lease ms  8 limit
--      9 owner or ''  10 not after or ''
-- Returns 'accepted', 'too many' or 'too late'.

local now = now_ms()
if is_too_late(ARGV[10], now) then
  return 'too late'
end
local lease = lease_until(ARGV[10], tonumber(ARGV[7]), now)
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', integer(now))
if redis.call('ZCARD', KEYS[7]) >= tonumber(ARGV[8]) then
  return 'too many'
end
redis.call('HSET', KEYS[6], 'channel', 'websocket', 'topic', ARGV[5], 'record', ARGV[6], 'expires', integer(now + lease))
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[6], 'owner', ARGV[9])
end
redis.call('PEXPIRE', KEYS[6], integer(lease + AFTERLIFE))
redis.call('ZADD', KEYS[7], integer(now + lease), ARGV[4])
redis.call('ZADD', KEYS[8], integer(now + lease), ARGV[4] .. ' ' .. ARGV[5])
keep(KEYS[7], lease)
keep_session(the_topic(), lease)
return 'accepted'
