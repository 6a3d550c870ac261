-- Reads a subscription whose lease has not ended.
--
-- KEYS 1 subscription
-- Returns {record, remaining lease ms} or nil.

local left = lease_left(KEYS[1], now_ms())
if left == 0 then
  return nil
end
return {redis.call('HGET', KEYS[1], 'record'), integer(left)}
