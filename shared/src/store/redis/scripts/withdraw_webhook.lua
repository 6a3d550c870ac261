-- Takes back a webhook subscriber's request that nobody has confirmed, unless something is in force.
--
-- KEYS 1 subscription  2 webhooks of the topic  3 due set  4 bell of the due set
-- ARGV 1 id  2 topic  3 partition  4 owner who asks or ''
-- Returns 1, or 0 when there is none that is his.

local now = now_ms()
local known = redis.call('HMGET', KEYS[1], 'nonce', 'owner', 'record')
if not known[1] or lease_left(KEYS[1], now) > 0 or is_foreign(known[2], ARGV[4]) then
  return 0
end
-- Whoever is asking the callback now holds it no longer: the answer changes nothing.
redis.call('HDEL', KEYS[1], 'request', 'nonce', 'asked', 'claim')
local member = ARGV[1] .. ' ' .. ARGV[2]
if known[3] then
  -- What was in force before is still to be denied.
  redis.call('ZADD', KEYS[3], integer(now), member)
  redis.call('SPUBLISH', KEYS[4], ARGV[3])
else
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], member)
end
return 1
