-- Starts the reading of a subscription: its cursor and the entries that only it is sent, in one
-- step. A webhook's verified terms come into force here, also when it is read already.
--
-- KEYS 1 subscription  2 session  3 log  4 bell  5 webhooks of the topic  6 leases
-- ARGV 1 log ms  2 log entries  3 session ms  4 id  5 topic  6 field of the holder ('connection',
--      'claim')  7 holder  8 expected revision  9 record  10 lease ms  11 nonce (9 to 11: of a
--      webhook)  12… entries
-- Returns {'from', position}, {'conflict', session fields} or {'lost'}.

if redis.call('HGET', KEYS[1], ARGV[6]) ~= ARGV[7] then
  return {'lost'}
end
local now = now_ms()
local cursor = redis.call('HGET', KEYS[1], 'cursor')
if ARGV[6] == 'claim' and lease_left(KEYS[1], now) == 0 then
  -- What was in force before has ended: this one begins anew.
  cursor = false
end
local revision = revision_of(KEYS[2])
if not cursor and revision ~= tonumber(ARGV[8]) then
  return {'conflict', redis.call('HGETALL', KEYS[2])}
end
if ARGV[6] == 'claim' then
  local lease = tonumber(ARGV[10])
  redis.call('HSET', KEYS[1], 'record', ARGV[9], 'expires', integer(now + lease))
  redis.call('PEXPIRE', KEYS[1], integer(lease + AFTERLIFE))
  redis.call('ZADD', KEYS[5], integer(now + lease), ARGV[4])
  redis.call('ZADD', KEYS[6], integer(now + lease), ARGV[4] .. ' ' .. ARGV[5])
  keep(KEYS[5], lease + AFTERLIFE)
  keep(KEYS[2], lease)
  if redis.call('HGET', KEYS[1], 'nonce') == ARGV[11] then
    redis.call('HDEL', KEYS[1], 'request', 'nonce')
  end
end
if not cursor then
  cursor = head_of(KEYS[2])
  redis.call('HSET', KEYS[1], 'cursor', cursor)
  redis.call('HDEL', KEYS[1], 'attempts', 'retry_at', 'reported')
  local topic = {session = KEYS[2], log = KEYS[3], bell = KEYS[4]}
  local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
  for i = 12, #ARGV do
    append(topic, retention, now, revision, ARGV[i])
  end
end
return {'from', cursor}
