-- Ends a WebSocket subscription, and tells the node that holds its socket.
--
-- KEYS 1 subscription  2 sockets of the topic  3 session  4 log  5 bell
-- ARGV 1 log ms  2 log entries  3 session ms  4 id  5 topic  6 entry
-- Returns 1, or 0 when there is none in that topic.

local known = redis.call('HMGET', KEYS[1], 'channel', 'topic', 'connection')
if known[1] ~= 'websocket' or known[2] ~= ARGV[5] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[4])
if known[3] then
  local topic = {session = KEYS[3], log = KEYS[4], bell = KEYS[5]}
  local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
  append(topic, retention, now_ms(), revision_of(KEYS[3]), ARGV[6])
end
return 1
