-- Reads a subscription that has not ended, by its lease or its grace.
--
-- KEYS 1 subscription
-- Returns {record, remaining lease ms} or nil.

local now = now_ms()
local left = lease_left(KEYS[1], now)
local grace = redis.call('HGET', KEYS[1], 'grace')
if left == 0 or (grace and tonumber(grace) <= now) then
  return nil
end
return {redis.call('HGET', KEYS[1], 'record'), integer(left)}
