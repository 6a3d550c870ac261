-- Replaces the terms of a WebSocket subscription, and tells the node that holds its socket.
--
-- KEYS 1 subscription  2 sockets of the topic  3 session  4 log  5 bell
-- ARGV 1 log ms  2 log entries  3 session ms  4 id  5 topic  6 record  7 lease ms  8 entry
-- Returns 'accepted' or 'unknown'.

local now = now_ms()
local lease = tonumber(ARGV[7])
local known = redis.call('HMGET', KEYS[1], 'channel', 'topic', 'connection', 'grace')
local is_over = lease_left(KEYS[1], now) == 0 or (known[4] and tonumber(known[4]) <= now)
if known[1] ~= 'websocket' or known[2] ~= ARGV[5] or is_over then
  return 'unknown'
end
redis.call('HSET', KEYS[1], 'record', ARGV[6], 'expires', integer(now + lease))
redis.call('HDEL', KEYS[1], 'grace')
redis.call('PEXPIRE', KEYS[1], integer(lease + AFTERLIFE))
redis.call('ZADD', KEYS[2], integer(now + lease), ARGV[4])
keep(KEYS[2], lease)
keep(KEYS[3], lease)
if known[3] then
  local topic = {session = KEYS[3], log = KEYS[4], bell = KEYS[5]}
  local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
  append(topic, retention, now, revision_of(KEYS[3]), ARGV[8])
end
return 'accepted'
