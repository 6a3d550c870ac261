-- Commits a change of a session: all of it, or nothing.
--
-- KEYS 1 to 5 the topic  6 webhooks of the topic  7 due set  8 bell of the due set  9 once
-- ARGV 1 to 3 retention  4 topic  5 partition  6 expected revision, or ''  7 once ms  8 entry
--      9 most bytes of content  10 number of fields to delete  11 number of fields to write
--      12 … fields to delete, then field and value pairs, then changes of the content: 'keep' or
--      'new' with field and value, 'remove' or 'remove named' with field, 'clear' with the
--      beginning of fields
-- Returns {'committed', position, revision}, {'conflict', session fields}, {'duplicate',
-- history, head}, {'exists'} or {'full'}.

local topic = the_topic()
if redis.call('EXISTS', KEYS[9]) == 1 then
  return {'duplicate', history_of(topic), head_of(topic.session)}
end
local revision = revision_of(topic.session)
if ARGV[6] ~= '' and revision ~= ARGV[6] then
  return {'conflict', redis.call('HGETALL', topic.session)}
end
local first_write = 12 + tonumber(ARGV[10])
local first_change = first_write + 2 * tonumber(ARGV[11])
local changes = changes_of(ARGV, first_change)
local refusal = refusal_of(topic.content, changes, tonumber(ARGV[9]))
if refusal then
  return {refusal}
end

for i = 12, first_write - 1 do
  redis.call('HDEL', topic.session, ARGV[i])
end
for i = first_write, first_change - 1, 2 do
  redis.call('HSET', topic.session, ARGV[i], ARGV[i + 1])
end
if #changes > 0 then
  change_content(topic.content, topic.names, changes)
end
if #ARGV >= 12 then
  revision = next_revision(topic, revision)
end
local now = now_ms()
local position = append(topic, now, revision, ARGV[8])
redis.call('SET', KEYS[9], '', 'PX', ARGV[7])
make_due({webhooks = KEYS[6], due = KEYS[7], bell = KEYS[8]}, now, ARGV[4], ARGV[5])
return {'committed', position, revision}
