-- Notes a webhook subscriber's request, to be verified by a worker.
--
-- KEYS 1 subscription  2 webhooks of the topic  3 due set  4 bell of the due set
-- ARGV 1 id  2 topic  3 partition  4 mode  5 request  6 nonce  7 limit
--      8 owner who asks or ''  9 not after or ''
-- Returns 'accepted', 'unknown', 'foreign', 'too many' or 'too late'.

local now = now_ms()
local is_in_force = lease_left(KEYS[1], now) > 0
local known = redis.call('HMGET', KEYS[1], 'channel', 'nonce', 'owner')
-- What has ended and is still remembered is nobody's any more.
local is_owned = is_in_force or known[2]
if ARGV[4] == 'unsubscribe' and not is_in_force then
  return 'unknown'
end
if is_owned and is_foreign(known[3], ARGV[8]) then
  return 'foreign'
end
if ARGV[4] == 'subscribe' and is_too_late(ARGV[9], now) then
  return 'too late'
end
if not known[1] then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', integer(now - AFTERLIFE))
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[7]) then
    return 'too many'
  end
  redis.call('ZADD', KEYS[2], integer(now), ARGV[1])
  keep(KEYS[2], AFTERLIFE)
end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'owner', ARGV[8])
elseif not is_owned then
  redis.call('HDEL', KEYS[1], 'owner')
end
redis.call('HSET', KEYS[1], 'channel', 'webhook', 'topic', ARGV[2], 'request', ARGV[5], 'nonce', ARGV[6])
redis.call('HDEL', KEYS[1], 'asked')
keep(KEYS[1], AFTERLIFE)

-- Not while a worker holds it: it sees the request when it gives the claim back.
local member = ARGV[1] .. ' ' .. ARGV[2]
local score = tonumber(redis.call('ZSCORE', KEYS[3], member) or '0')
if not (redis.call('HEXISTS', KEYS[1], 'claim') == 1 and score > now) then
  redis.call('ZADD', KEYS[3], integer(now), member)
  redis.call('SPUBLISH', KEYS[4], ARGV[3])
end
return 'accepted'
