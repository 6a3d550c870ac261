-- Takes a due subscription for a while.
--
-- KEYS 1 due set  2 subscription  3 log  4 webhooks of the topic
-- ARGV 1 id  2 topic  3 hold ms  4 token  5 most entries
-- Returns nil when it is not due or gone, or {now, remaining lease ms, record or '', request or '',
-- cursor or '', attempts, retry at, reported, entries as of XRANGE}.

local member = ARGV[1] .. ' ' .. ARGV[2]
local now = now_ms()
local score = redis.call('ZSCORE', KEYS[1], member)
if not score or tonumber(score) > now then
  return nil
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], member)
  redis.call('ZREM', KEYS[4], ARGV[1])
  return nil
end
redis.call('HSET', KEYS[2], 'claim', ARGV[4])
redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[3])), member)
local known = redis.call('HMGET', KEYS[2], 'record', 'request', 'cursor', 'attempts', 'retry_at', 'reported')
local left = lease_left(KEYS[2], now)
local entries = {}
if known[3] and left > 0 then
  entries = redis.call('XRANGE', KEYS[3], '(' .. known[3], '+', 'COUNT', ARGV[5])
end
return {
  integer(now), integer(left), known[1] or '', known[2] or '', known[3] or '',
  known[4] or '0', known[5] or '0', known[6] or '0-0', entries,
}
