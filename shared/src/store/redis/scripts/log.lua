-- Reads a page of a log.
--
-- KEYS 1 session  2 log
-- ARGV 1 position  2 most entries  3 most bytes
-- Returns {head, gap before the entries, 1 if there may be more else 0, entries as of XRANGE}.

if not is_primary() then
  -- It may not have what was read here when it still was one, and that would look like a loss.
  return redis.error_reply('READONLY a log is read on the primary')
end
-- The head is read first: a page that ends before it is known to be not the last.
local head = head_of(KEYS[1])
local entries, has_more = entries_after(KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
return {head, gap_after(KEYS[1], KEYS[2], ARGV[1], entries), has_more, entries}
