-- Moves the cursors of connected sockets forward.
--
-- KEYS subscriptions of one partition
-- ARGV for each of them: connection, cursor, '1' if the subscriber has answered
-- Returns for each of them 1, or 0 when that connection does not hold it.

local held = {}
for i, key in ipairs(KEYS) do
  local known = redis.call('HMGET', key, 'connection', 'cursor', 'answers')
  local cursor = ARGV[3 * i - 1]
  held[i] = known[1] == ARGV[3 * i - 2] and 1 or 0
  if held[i] == 1 and known[2] and is_later(cursor, known[2]) then
    redis.call('HSET', key, 'cursor', cursor)
  end
  if held[i] == 1 and ARGV[3 * i] == '1' and not known[3] then
    redis.call('HSET', key, 'answers', '1')
  end
end
return held
