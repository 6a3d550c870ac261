-- Reads the content below a name.
--
-- KEYS 1 session  2 content  3 names of the content
-- ARGV 1 beginning of the names, which ends with '/'  2 expected revision
-- Returns {name, value} for each in the order of their names, or nil when the revision is another.

if revision_of(KEYS[1]) ~= ARGV[2] then
  return nil
end
local fields = below(KEYS[3], ARGV[1])
local values = values_of(KEYS[2], fields)
local content = {}
for i, field in ipairs(fields) do
  content[i] = {field, values[i]}
end
return content
