-- Replaces the terms of a WebSocket subscription, and tells the node that holds its socket.
--
-- KEYS 1 to 5 the topic  6 subscription  7 sockets of the topic  8 leases
-- ARGV 1 to 3 retention  4 id  5 topic  6 record  7 lease ms  8 entry  9 grace ms
--      10 owner who asks or ''  11 not after or ''
-- Returns 'accepted', 'unknown', 'foreign' or 'too late'.

local topic, now = the_topic(), now_ms()
local known = redis.call('HMGET', KEYS[6], 'channel', 'topic', 'connection', 'grace', 'owner')
local is_over = lease_left(KEYS[6], now) == 0 or (known[4] and tonumber(known[4]) <= now)
if known[1] ~= 'websocket' or known[2] ~= ARGV[5] or is_over then
  return 'unknown'
end
if is_foreign(known[5], ARGV[10]) then
  return 'foreign'
end
if is_too_late(ARGV[11], now) then
  return 'too late'
end
local lease = lease_until(ARGV[11], tonumber(ARGV[7]), now)
redis.call('HSET', KEYS[6], 'record', ARGV[6], 'expires', integer(now + lease))
-- Whoever was about to end it looks again.
redis.call('HDEL', KEYS[6], 'claim')
local stays = lease
if known[4] then
  -- Nobody holds it. Its subscriber is there, and has this long to connect.
  stays = math.min(tonumber(ARGV[9]), lease)
  redis.call('HSET', KEYS[6], 'away', integer(now), 'grace', integer(now + stays))
end
redis.call('PEXPIRE', KEYS[6], integer(lease + AFTERLIFE))
redis.call('ZADD', KEYS[7], integer(now + stays), ARGV[4])
redis.call('ZADD', KEYS[8], integer(now + lease), ARGV[4] .. ' ' .. ARGV[5])
keep(KEYS[7], lease)
keep_session(topic, lease)
if known[3] then
  append(topic, now, revision_of(topic.session), ARGV[8])
end
return 'accepted'
