-- Ends a WebSocket subscription, and tells the node that holds its socket.
--
-- KEYS 1 to 5 the topic  6 subscription  7 sockets of the topic  8 leases  9 due set  10 held
-- ARGV 1 to 3 retention  4 id  5 topic  6 entry  7 owner who asks or ''
-- Returns 'accepted', 'unknown' when there is none in that topic or it is over already, or 'foreign'.

local now = now_ms()
local known = redis.call('HMGET', KEYS[6], 'channel', 'topic', 'owner', 'grace')
local is_over = lease_left(KEYS[6], now) == 0 or (known[4] and tonumber(known[4]) <= now)
if known[1] ~= 'websocket' or known[2] ~= ARGV[5] or is_over then
  return 'unknown'
end
if is_foreign(known[3], ARGV[7]) then
  return 'foreign'
end
local kept = {subscription = KEYS[6], sockets = KEYS[7], leases = KEYS[8], due = KEYS[9], held = KEYS[10]}
end_websocket(the_topic(), kept, ARGV[4], ARGV[4] .. ' ' .. ARGV[5], ARGV[6])
return 'accepted'
