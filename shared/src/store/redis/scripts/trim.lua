-- Drops from a log what is older than it keeps, to the entry: an append drops no part of a node.
--
-- KEYS 1 log
-- ARGV 1 log ms
-- Returns how many entries there were.

return redis.call('XTRIM', KEYS[1], 'MINID', '=', integer(now_ms() - tonumber(ARGV[1])))
