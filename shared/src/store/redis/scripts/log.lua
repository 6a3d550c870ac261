-- Reads a page of a log.
--
-- KEYS 1 session  2 log
-- ARGV 1 position  2 most entries  3 most bytes
-- Returns {head, 1 if there may be more else 0, entries as of XRANGE}.

-- The head is read first: a page that ends before it is known to be not the last.
local head = head_of(KEYS[1])
local entries, has_more = entries_after(KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
return {head, has_more, entries}
