-- Appends entries for a cause that grows: once for as far as it goes.
--
-- KEYS 1 to 5 the topic  6 webhooks of the topic  7 due set  8 bell of the due set  9 how far it has
--      been told, and from where on
-- ARGV 1 to 3 retention  4 topic  5 partition  6 expected revision  7 position up to which it goes
--      8 … entries
-- Returns {'done', from}, {'before', from} (it has been told that far) or {'conflict'}; from is the
-- entry before the announcement.

local told = redis.call('GET', KEYS[9])
if told and not is_later(ARGV[7], told) then
  return {'before', string.match(told, ' (.*)$')}
end
local topic, now = the_topic(), now_ms()
local revision = revision_of(topic.session)
if revision ~= ARGV[6] then
  return {'conflict'}
end
local from = head_of(topic.session)
for i = 8, #ARGV do
  append(topic, now, revision, ARGV[i])
end
redis.call('SET', KEYS[9], ARGV[7] .. ' ' .. from, 'PX', integer(topic.log_ms))
make_due({webhooks = KEYS[6], due = KEYS[7], bell = KEYS[8]}, now, ARGV[4], ARGV[5])
return {'done', from}
