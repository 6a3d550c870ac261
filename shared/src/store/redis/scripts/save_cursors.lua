-- Moves the cursors of connected sockets forward.
--
-- KEYS subscriptions of one partition
-- ARGV for each of them: connection, cursor
-- Returns the number of cursors that moved.

local moved = 0
for i, key in ipairs(KEYS) do
  local known = redis.call('HMGET', key, 'connection', 'cursor')
  local cursor = ARGV[2 * i]
  if known[1] == ARGV[2 * i - 1] and known[2] and is_later(cursor, known[2]) then
    redis.call('HSET', key, 'cursor', cursor)
    moved = moved + 1
  end
end
return moved
