-- Saves the progress of a claim, and keeps it or gives it back.
--
-- KEYS 1 to 5 the topic  6 subscription  7 due set  8 bell of the due set  9 leases
--      10 webhooks of the topic  11 sockets of the topic  12 held
-- ARGV 1 to 3 retention  4 id  5 topic  6 partition  7 token  8 cursor  9 attempts  10 retry at
--      11 reported  12 nonce of the request that is done with, or ''  13 'hold', 'after', 'idle' or
--      'end'  14 ms  15 entry for the node that holds the socket  16 asked
--      17 nonce of the request that the claim brought, or ''
-- Returns 1, or 0 when the claim is void.

if redis.call('HGET', KEYS[6], 'claim') ~= ARGV[7] then
  return 0
end
local member = ARGV[4] .. ' ' .. ARGV[5]
local known = redis.call('HMGET', KEYS[6], 'cursor', 'nonce', 'record', 'channel')
if ARGV[13] == 'end' and known[4] == 'websocket' then
  local kept = {subscription = KEYS[6], sockets = KEYS[11], leases = KEYS[9], due = KEYS[7], held = KEYS[12]}
  end_websocket(the_topic(), kept, ARGV[4], member, ARGV[15])
  return 1
end
local now = now_ms()
redis.call('HSET', KEYS[6], 'attempts', ARGV[9], 'retry_at', ARGV[10], 'reported', ARGV[11], 'asked', ARGV[16])
if known[1] then
  redis.call('HSET', KEYS[6], 'cursor', ARGV[8])
end
if known[2] and known[2] == ARGV[12] then
  redis.call('HDEL', KEYS[6], 'request', 'nonce')
  known[2] = false
end
if ARGV[13] == 'hold' then
  redis.call('ZADD', KEYS[7], integer(now + tonumber(ARGV[14])), member)
  return 1
end

redis.call('HDEL', KEYS[6], 'claim')
if ARGV[13] == 'end' then
  redis.call('HDEL', KEYS[6], 'record', 'expires', 'cursor', 'attempts', 'retry_at', 'reported', 'asked')
  redis.call('ZREM', KEYS[9], member)
  known[1], known[3] = false, false
end
-- Not only what is later: after a loss the log may end before the cursor, by the numbers.
local has_more = known[1] and head_of(KEYS[1]) ~= ARGV[8]
local is_over = known[3] and lease_left(KEYS[6], now) == 0
local is_due
if ARGV[13] == 'after' then
  -- Not for what it was given back with.
  is_due = known[2] and known[2] ~= ARGV[17]
else
  is_due = known[2] or (ARGV[13] == 'idle' and (has_more or is_over))
end
if is_due then
  redis.call('ZADD', KEYS[7], integer(now), member)
  redis.call('SPUBLISH', KEYS[8], ARGV[6])
elseif ARGV[13] == 'after' then
  redis.call('ZADD', KEYS[7], integer(now + tonumber(ARGV[14])), member)
else
  redis.call('ZREM', KEYS[7], member)
  if not known[3] then
    redis.call('DEL', KEYS[6])
    redis.call('ZREM', KEYS[10], ARGV[4])
  end
end
return 1
