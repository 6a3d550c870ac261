-- Takes a WebSocket subscription for a connection, and tells the connection that had it.
--
-- KEYS 1 subscription  2 sockets of the topic  3 session  4 log  5 bell
-- ARGV 1 log ms  2 log entries  3 session ms  4 id  5 node  6 connection  7 entry, '?' for the one before
-- Returns nil, or {record, remaining lease ms, head, cursor or '', session fields if there is no
-- cursor}.

local now = now_ms()
local left = lease_left(KEYS[1], now)
local known = redis.call('HMGET', KEYS[1], 'channel', 'record', 'grace', 'connection', 'cursor')
if left == 0 or known[1] ~= 'websocket' or (known[3] and tonumber(known[3]) <= now) then
  return nil
end
redis.call('HSET', KEYS[1], 'node', ARGV[5], 'connection', ARGV[6])
redis.call('HDEL', KEYS[1], 'grace')
redis.call('PEXPIRE', KEYS[1], integer(left + AFTERLIFE))
redis.call('ZADD', KEYS[2], integer(now + left), ARGV[4])
keep(KEYS[2], left)
if known[4] and known[4] ~= ARGV[6] then
  local topic = {session = KEYS[3], log = KEYS[4], bell = KEYS[5]}
  local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
  local entry = string.gsub(ARGV[7], '%?', (string.gsub(known[4], '%%', '%%%%')))
  append(topic, retention, now, revision_of(KEYS[3]), entry)
end
local head = head_of(KEYS[3])
if known[5] then
  return {known[2], integer(left), head, known[5]}
end
return {known[2], integer(left), head, '', redis.call('HGETALL', KEYS[3])}
