-- Takes a subscription for a while that is due, or whose lease has ended.
--
-- KEYS 1 due set  2 subscription  3 log  4 webhooks of the topic  5 leases  6 session
-- ARGV 1 id  2 topic  3 hold ms  4 token  5 most entries  6 most bytes of them
-- Returns nil when it is not due or gone, or {now, end of the lease, record or '', request or '',
-- cursor or '', attempts, retry at, reported, asked, away since or '', grace or '', parting or '',
-- gap before the entries, entries as of XRANGE}.

local member = ARGV[1] .. ' ' .. ARGV[2]
local now = now_ms()
-- One that is held, or waits for its retry, is in the due set as well and has its time there.
local time = redis.call('ZSCORE', KEYS[1], member) or redis.call('ZSCORE', KEYS[5], member)
local is_due = time and tonumber(time) <= now
-- The same call again, after its answer was lost, finds its own claim.
if not is_due and redis.call('HGET', KEYS[2], 'claim') ~= ARGV[4] then
  return nil
end
local known = redis.call('HMGET', KEYS[2], 'channel', 'record', 'request', 'cursor', 'attempts', 'retry_at',
  'reported', 'away', 'grace', 'parting', 'asked')
if not known[1] then
  redis.call('ZREM', KEYS[1], member)
  redis.call('ZREM', KEYS[5], member)
  redis.call('ZREM', KEYS[4], ARGV[1])
  return nil
end
local left = lease_left(KEYS[2], now)
if known[1] == 'websocket' and left > 0 and not known[8] then
  -- A hub looks after it.
  redis.call('ZREM', KEYS[1], member)
  return nil
end
redis.call('HSET', KEYS[2], 'claim', ARGV[4])
redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[3])), member)
if left == 0 then
  -- From now on the due set alone knows that it is to be ended.
  redis.call('ZREM', KEYS[5], member)
end
local entries, gap = {}, ''
if known[4] and left > 0 then
  entries = entries_after(KEYS[3], known[4], tonumber(ARGV[5]), tonumber(ARGV[6]))
  gap = gap_after(KEYS[6], KEYS[3], known[4], entries)
end
local reported = known[7] or '0-0@' .. NO_HISTORY
if is_later(reported, head_of(KEYS[6])) then
  -- It was lost with what it told about.
  reported = '0-0@' .. NO_HISTORY
end
return {
  integer(now), redis.call('HGET', KEYS[2], 'expires') or '0', known[2] or '', known[3] or '', known[4] or '', known[5] or '0', known[6] or '0',
  reported, known[11] or '0', known[8] or '', known[9] or '', known[10] or '',
  gap, entries,
}
