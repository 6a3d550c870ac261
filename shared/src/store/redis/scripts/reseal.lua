-- Replaces values of a hash that are still the same. The life of the key stays as it is.
--
-- KEYS 1 hash
-- ARGV for each: field, value as it was, value as it is to be
-- Returns how many were replaced.

local replaced, bytes = 0, 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    replaced = replaced + 1
    bytes = bytes + #ARGV[i + 2] - #ARGV[i + 1]
  end
end
-- That of a content counts its bytes.
if bytes ~= 0 and redis.call('HEXISTS', KEYS[1], '.bytes') == 1 then
  redis.call('HINCRBY', KEYS[1], '.bytes', integer(bytes))
end
return replaced
