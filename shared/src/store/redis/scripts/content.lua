-- Reads the content below a name.
--
-- KEYS 1 session  2 content  3 names of the content
-- ARGV 1 beginning of the names, which ends with '/'  2 expected revision
-- Returns the values in the order of their names, or nil when the revision is another.

if revision_of(KEYS[1]) ~= ARGV[2] then
  return nil
end
return values_of(KEYS[2], below(KEYS[3], ARGV[1]))
