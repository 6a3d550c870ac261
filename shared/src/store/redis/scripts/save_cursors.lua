-- Moves the cursors of connected sockets forward.
--
-- KEYS subscriptions of one partition
-- ARGV for each of them: connection, cursor, '1' if the subscriber has answered
-- A cursor moves forward, or into the history that this server writes: a lost one stays behind,
-- whatever the numbers say.
-- Returns for each of them 1, or 0 when that connection does not hold it.

local function moves(from, to, own_history)
  local history = history_in(to)
  return history == own_history and history ~= history_in(from) or history == history_in(from) and is_later(to, from)
end

local own_history = history_of({})
local held = {}
for i, key in ipairs(KEYS) do
  local known = redis.call('HMGET', key, 'connection', 'cursor', 'answers')
  local cursor = ARGV[3 * i - 1]
  held[i] = known[1] == ARGV[3 * i - 2] and 1 or 0
  if held[i] == 1 and known[2] and moves(known[2], cursor, own_history) then
    redis.call('HSET', key, 'cursor', cursor)
  end
  if held[i] == 1 and ARGV[3 * i] == '1' and not known[3] then
    redis.call('HSET', key, 'answers', '1')
  end
end
return held
