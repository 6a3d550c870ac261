-- Starts the reading of a subscription: its cursor and the entries that only it is sent, in one
-- step. A webhook's verified terms come into force here, also when it is read already.
--
-- KEYS 1 to 5 the topic  6 subscription  7 webhooks of the topic  8 leases
-- ARGV 1 to 3 retention  4 id  5 topic  6 field of the holder ('connection', 'claim')  7 holder
--      8 expected revision  9 '1' to start anew behind the head  10 record, or ''  11 lease ms
--      12 not after or ''  13 nonce (10 to 13: of a webhook that has been verified)  14 … entries
-- Returns {'from', position, history}, {'conflict', session fields} or {'lost'}.

if redis.call('HGET', KEYS[6], ARGV[6]) ~= ARGV[7] then
  return {'lost'}
end
local topic, now = the_topic(), now_ms()
local cursor = redis.call('HGET', KEYS[6], 'cursor')
if ARGV[9] == '1' or (ARGV[6] == 'claim' and lease_left(KEYS[6], now) == 0) then
  -- What it has missed is gone, or what was in force before has ended: it begins anew.
  cursor = false
end
local revision = revision_of(topic.session)
if not cursor and revision ~= ARGV[8] then
  return {'conflict', redis.call('HGETALL', topic.session)}
end
if ARGV[10] ~= '' then
  local lease = lease_until(ARGV[12], tonumber(ARGV[11]), now)
  redis.call('HSET', KEYS[6], 'record', ARGV[10], 'expires', integer(now + lease))
  redis.call('PEXPIRE', KEYS[6], integer(lease + AFTERLIFE))
  redis.call('ZADD', KEYS[7], integer(now + lease), ARGV[4])
  redis.call('ZADD', KEYS[8], integer(now + lease), ARGV[4] .. ' ' .. ARGV[5])
  keep(KEYS[7], lease + AFTERLIFE)
  keep_session(topic, lease)
  if redis.call('HGET', KEYS[6], 'nonce') == ARGV[13] then
    redis.call('HDEL', KEYS[6], 'request', 'nonce')
  end
end
if not cursor then
  cursor = head_of(topic.session)
  redis.call('HSET', KEYS[6], 'cursor', cursor)
  redis.call('HDEL', KEYS[6], 'attempts', 'retry_at', 'reported', 'asked')
  for i = 14, #ARGV do
    append(topic, now, revision, ARGV[i])
  end
end
return {'from', cursor, history_of(topic)}
