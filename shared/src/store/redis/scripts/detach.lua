-- Lets go of a WebSocket subscription: it may be taken again within the grace. Meanwhile it is due
-- like one that waits for its delivery, so that somebody looks after it.
--
-- KEYS 1 subscription  2 sockets of the topic  3 due set  4 held  5 bell of the due set
-- ARGV 1 id  2 topic  3 partition  4 field of the holder ('connection', 'node')  5 holder
--      6 grace ms  7 ms until somebody looks  8 parting
-- Returns 1, or 0 when that holder does not hold it.

local member = ARGV[1] .. ' ' .. ARGV[2]
if redis.call('HGET', KEYS[1], ARGV[4]) ~= ARGV[5] then
  if ARGV[4] == 'node' and redis.call('HGET', KEYS[4], member) == ARGV[5] then
    redis.call('HDEL', KEYS[4], member)
  end
  return 0
end
local now = now_ms()
local stays = math.min(tonumber(ARGV[6]), lease_left(KEYS[1], now))
redis.call('HDEL', KEYS[1], 'connection', 'node')
redis.call('HSET', KEYS[1], 'away', integer(now), 'grace', integer(now + stays), 'parting', ARGV[8])
redis.call('HDEL', KEYS[4], member)
redis.call('PEXPIRE', KEYS[1], integer(stays + AFTERLIFE))
redis.call('ZADD', KEYS[2], integer(now + stays), ARGV[1])
local look = math.min(tonumber(ARGV[7]), stays)
redis.call('ZADD', KEYS[3], integer(now + look), member)
if look == 0 then
  redis.call('SPUBLISH', KEYS[5], ARGV[3])
end
return 1
