-- Saves the progress of a claim, and keeps it or gives it back.
--
-- KEYS 1 due set  2 subscription  3 session  4 webhooks of the topic  5 bell of the due set
--      6 leases
-- ARGV 1 id  2 topic  3 partition  4 token  5 cursor  6 attempts  7 retry at  8 reported
--      9 nonce of the request that is done with, or ''  10 'hold', 'after', 'idle' or
--      'end'  11 ms
-- Returns 1, or 0 when the claim is void.

if redis.call('HGET', KEYS[2], 'claim') ~= ARGV[4] then
  return 0
end
local member = ARGV[1] .. ' ' .. ARGV[2]
local now = now_ms()
local known = redis.call('HMGET', KEYS[2], 'cursor', 'nonce', 'record')
redis.call('HSET', KEYS[2], 'attempts', ARGV[6], 'retry_at', ARGV[7], 'reported', ARGV[8])
if known[1] then
  redis.call('HSET', KEYS[2], 'cursor', ARGV[5])
end
if known[2] and known[2] == ARGV[9] then
  redis.call('HDEL', KEYS[2], 'request', 'nonce')
  known[2] = false
end
if ARGV[10] == 'hold' then
  redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[11])), member)
  return 1
end

redis.call('HDEL', KEYS[2], 'claim')
if ARGV[10] == 'end' then
  redis.call('HDEL', KEYS[2], 'record', 'expires', 'cursor', 'attempts', 'retry_at', 'reported')
  redis.call('ZREM', KEYS[6], member)
  known[1], known[3] = false, false
end
local has_more = known[1] and is_later(head_of(KEYS[3]), ARGV[5])
local is_over = known[3] and lease_left(KEYS[2], now) == 0
local is_due = known[2] or (ARGV[10] == 'idle' and (has_more or is_over))
if is_due then
  redis.call('ZADD', KEYS[1], integer(now), member)
  redis.call('PUBLISH', KEYS[5], ARGV[3])
elseif ARGV[10] == 'after' then
  redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[11])), member)
else
  redis.call('ZREM', KEYS[1], member)
  if not known[3] then
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[4], ARGV[1])
  end
end
return 1
