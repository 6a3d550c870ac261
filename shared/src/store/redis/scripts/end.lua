-- Ends a subscription, and tells the node that holds its socket.
--
-- KEYS 1 subscription  2 sockets of the topic  3 webhooks of the topic  4 due set  5 session  6 log
--      7 bell  8 leases
-- ARGV 1 log ms  2 log entries  3 session ms  4 id  5 topic  6 entry
-- Returns 1, or 0 when there is none in that topic.

local known = redis.call('HMGET', KEYS[1], 'topic', 'connection')
if known[1] ~= ARGV[5] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[4])
redis.call('ZREM', KEYS[4], ARGV[4] .. ' ' .. ARGV[5])
redis.call('ZREM', KEYS[8], ARGV[4] .. ' ' .. ARGV[5])
if known[2] then
  local topic = {session = KEYS[5], log = KEYS[6], bell = KEYS[7]}
  local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
  append(topic, retention, now_ms(), revision_of(KEYS[5]), ARGV[6])
end
return 1
