-- Commits a change of a session: all of it, or nothing.
--
-- KEYS 1 session  2 log  3 bell  4 webhooks of the topic  5 due set  6 bell of the due set  7 once
-- ARGV 1 log ms  2 log entries  3 session ms  4 topic  5 partition  6 expected revision, or ''
--      7 once ms  8 entry  9 number of deletes, then fields to delete, then field and value pairs
-- Returns {'committed', position, revision}, {'conflict', session fields} or {'duplicate'}.

if redis.call('EXISTS', KEYS[7]) == 1 then
  return {'duplicate'}
end
local revision = revision_of(KEYS[1])
if ARGV[6] ~= '' and revision ~= tonumber(ARGV[6]) then
  return {'conflict', redis.call('HGETALL', KEYS[1])}
end

local now = now_ms()
local first_write = 10 + tonumber(ARGV[9])
for i = 10, first_write - 1 do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
for i = first_write, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end

if #ARGV >= 10 then
  revision = revision + 1
end

local topic = {session = KEYS[1], log = KEYS[2], bell = KEYS[3]}
local retention = {log = tonumber(ARGV[1]), entries = tonumber(ARGV[2]), session = tonumber(ARGV[3])}
local position = append(topic, retention, now, revision, ARGV[8])
redis.call('SET', KEYS[7], '', 'PX', ARGV[7])

-- Whoever is claimed or waits for its retry stays where it is: its worker sees the new head.
local has_become_due = false
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  if redis.call('ZADD', KEYS[5], 'NX', integer(now), id .. ' ' .. ARGV[4]) == 1 then
    has_become_due = true
  end
end
if has_become_due then
  redis.call('PUBLISH', KEYS[6], ARGV[5])
end
return {'committed', position, integer(revision)}
