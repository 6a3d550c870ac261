-- Takes a WebSocket subscription for a connection, and tells the connection that had it.
--
-- KEYS 1 to 5 the topic  6 subscription  7 sockets of the topic  8 due set  9 held
-- ARGV 1 to 3 retention  4 id  5 topic  6 node  7 connection  8 entry, '?' for the one before
-- Returns nil, or {record, remaining lease ms, head, answers ('1' or ''), cursor or '', session
-- fields if there is no cursor}.

local topic, now = the_topic(), now_ms()
local left = lease_left(KEYS[6], now)
local known = redis.call('HMGET', KEYS[6], 'channel', 'topic', 'record', 'grace', 'connection', 'answers', 'cursor')
local is_over = left == 0 or (known[4] and tonumber(known[4]) <= now)
if known[1] ~= 'websocket' or known[2] ~= ARGV[5] or is_over then
  return nil
end
local member = ARGV[4] .. ' ' .. ARGV[5]
redis.call('HSET', KEYS[6], 'node', ARGV[6], 'connection', ARGV[7])
redis.call('HDEL', KEYS[6], 'away', 'grace', 'parting', 'claim')
redis.call('PEXPIRE', KEYS[6], integer(left + AFTERLIFE))
redis.call('ZADD', KEYS[7], integer(now + left), ARGV[4])
keep(KEYS[7], left)
redis.call('ZREM', KEYS[8], member)
redis.call('HSET', KEYS[9], member, ARGV[6])
if known[5] and known[5] ~= ARGV[7] then
  local entry = string.gsub(ARGV[8], '%?', (string.gsub(known[5], '%%', '%%%%')))
  append(topic, now, revision_of(topic.session), entry)
end
local head = head_of(topic.session)
if known[7] then
  return {known[3], integer(left), head, known[6] or '', known[7]}
end
return {known[3], integer(left), head, known[6] or '', '', redis.call('HGETALL', topic.session)}
