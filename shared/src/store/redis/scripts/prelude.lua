-- What the scripts share. Every script is sent with this in front of it.
--
-- A script compares, writes and appends; it parses no JSON and knows no rule of the protocol.
-- All keys of one call have the hash tag of one partition.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function integer(number)
  return string.format('%.0f', number)
end

-- A script that changes a topic has these first:
-- KEYS 1 session  2 log  3 bell  4 content  5 names of the content
-- ARGV 1 log ms  2 log entries and bytes ('n n')  3 session ms
local function the_topic()
  local entries, bytes = string.match(ARGV[2], '(%d+) (%d+)')
  return {
    session = KEYS[1], log = KEYS[2], bell = KEYS[3], content = KEYS[4], names = KEYS[5],
    log_ms = tonumber(ARGV[1]), log_entries = tonumber(entries), log_bytes = tonumber(bytes), session_ms = tonumber(ARGV[3]),
  }
end

-- Lets a key that is there live for at least ttl more milliseconds; never shortens its life.
local function keep(key, ttl)
  local left = redis.call('PTTL', key)
  if left ~= -2 and left < ttl then
    redis.call('PEXPIRE', key, integer(ttl))
  end
end

-- Lets a session live for so long, and its content with it.
local function keep_session(topic, ttl)
  keep(topic.session, ttl)
  keep(topic.content, ttl)
  keep(topic.names, ttl)
end

-- Positions are 'ms-seq@history', revisions 'number@history'. A history is what one server writes:
-- after a restart or a failover, which may have lost the end of a log, it is another one.
local NO_HISTORY = '00000000'

local function replication()
  return redis.call('INFO', 'replication')
end

-- The history that this server writes: the beginning of its replication id.
local function history_of(topic)
  topic.history = topic.history or string.match(replication(), 'master_replid:(%x%x%x%x%x%x%x%x)')
  return topic.history
end

-- Does this server write at all? A replica may be behind.
local function is_primary()
  return string.find(replication(), 'role:master', 1, true) ~= nil
end

local function revision_of(session)
  return redis.call('HGET', session, '.revision') or '0@' .. NO_HISTORY
end

local function next_revision(topic, revision)
  return integer(tonumber(string.match(revision, '^%d+')) + 1) .. '@' .. history_of(topic)
end

local function head_of(session)
  return redis.call('HGET', session, '.head') or '0-0@' .. NO_HISTORY
end

-- The history of a position.
local function history_in(position)
  return string.match(position, '@(.*)$')
end

-- A position as the stream has it.
local function id_of(position)
  return string.match(position, '^[^@]+')
end

-- Trims a log to three quarters of the bytes that it may have, when it has more. '.log-bytes' of the session is what
-- has been appended since it was measured last, and so never less than what there is: it is measured when that is
-- too much, and not each time. The last entry stays.
local function trim_by_bytes(topic, entry)
  if redis.call('HINCRBY', topic.session, '.log-bytes', #entry) <= topic.log_bytes then
    return
  end
  local bytes = redis.call('MEMORY', 'USAGE', topic.log, 'SAMPLES', 0) or 0
  local length, least = redis.call('XLEN', topic.log), topic.log_bytes * 3 / 4
  if bytes > topic.log_bytes then
    while bytes > least and length > 1 do
      length = math.max(1, math.min(length - 1, math.floor(length * least / bytes)))
      redis.call('XTRIM', topic.log, 'MAXLEN', '=', length)
      bytes = redis.call('MEMORY', 'USAGE', topic.log, 'SAMPLES', 0) or 0
    end
  end
  redis.call('HSET', topic.session, '.log-bytes', bytes)
end

-- Appends an entry to a topic's log and rings the topic's bell with it.
local function append(topic, now, revision, entry)
  local previous, history = head_of(topic.session), history_of(topic)
  local oldest = integer(now - topic.log_ms)
  local id = redis.call('XADD', topic.log, 'MINID', '~', oldest, '*', 'p', previous, 'r', revision, 'h', history, 'e', entry)
  if redis.call('XLEN', topic.log) > topic.log_entries then
    redis.call('XTRIM', topic.log, 'MAXLEN', '~', topic.log_entries)
  end
  trim_by_bytes(topic, entry)
  local head = id .. '@' .. history
  redis.call('HSET', topic.session, '.revision', revision, '.head', head)
  redis.call('PEXPIRE', topic.log, integer(topic.log_ms))
  keep_session(topic, topic.session_ms)
  redis.call('SPUBLISH', topic.bell, head .. ' ' .. previous .. ' ' .. revision .. ' ' .. entry)
  return head
end

-- Makes the webhooks of a topic due that are idle. Whoever is claimed or waits for its retry stays
-- where it is: its worker sees the new head.
--   keys: {webhooks, due, bell}
local function make_due(keys, now, topic, partition)
  local has_become_due = false
  for _, id in ipairs(redis.call('ZRANGE', keys.webhooks, 0, -1)) do
    if redis.call('ZADD', keys.due, 'NX', integer(now), id .. ' ' .. topic) == 1 then
      has_become_due = true
    end
  end
  if has_become_due then
    redis.call('SPUBLISH', keys.bell, partition)
  end
end

-- The entries after a position: at most so many, and no more when they have so many bytes.
-- Returns them as of XRANGE, and 1 if there may be more, else 0.
local function entries_after(log, position, most_entries, most_bytes)
  local entries, bytes, some = {}, 0, 1
  position = id_of(position)
  while #entries < most_entries and bytes < most_bytes do
    some = math.min(2 * some, most_entries - #entries)
    local read = redis.call('XRANGE', log, '(' .. position, '+', 'COUNT', some)
    for _, entry in ipairs(read) do
      entries[#entries + 1] = entry
      bytes = bytes + #entry[2][8]
    end
    if #read < some then
      return entries, 0
    end
    position = entries[#entries][1]
  end
  return entries, 1
end

-- Forgets a WebSocket subscription, and tells the node that holds its socket.
--   kept: {subscription, sockets, leases, due, held}; member: 'id topic'
local function end_websocket(topic, kept, id, member, entry)
  local is_held = redis.call('HEXISTS', kept.subscription, 'connection') == 1
  redis.call('DEL', kept.subscription)
  redis.call('ZREM', kept.sockets, id)
  redis.call('ZREM', kept.leases, member)
  redis.call('ZREM', kept.due, member)
  redis.call('HDEL', kept.held, member)
  if is_held then
    append(topic, now_ms(), revision_of(topic.session), entry)
  end
end

-- Is the position a later than b, by their numbers?
local function is_later(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)')
  a_ms, a_seq, b_ms, b_seq = tonumber(a_ms), tonumber(a_seq), tonumber(b_ms), tonumber(b_seq)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end

-- Do these entries, all that there are after a position or the first of them, follow it?
-- Returns '' if they do, 'trimmed' if the log has thrown away what came between, and 'lost' if the
-- log does not know the position: it goes on from an earlier one.
local function gap_after(session, log, position, entries)
  local head = head_of(session)
  if position == (entries[1] and entries[1][2][2] or head) then
    return ''
  end
  -- Of what the log has thrown away nothing came after the predecessor of its oldest entry.
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  return is_later(position, oldest and oldest[2][2] or head) and 'lost' or 'trimmed'
end

-- What remains of a subscription's lease in milliseconds; 0 when it is over or was never given.
local function lease_left(subscription, now)
  local expires = tonumber(redis.call('HGET', subscription, 'expires') or '0')
  return math.max(expires - now, 0)
end

-- May whoever asks not touch a subscription of this owner (false when it has none)? '' asks while
-- nobody has to say who he is.
local function is_foreign(owner, asking)
  return asking ~= '' and owner ~= asking
end

-- not_after: the end that no lease goes beyond, in ms since 1970, or ''.
local function is_too_late(not_after, now)
  return not_after ~= '' and tonumber(not_after) <= now
end

local function lease_until(not_after, lease, now)
  return not_after == '' and lease or math.max(math.min(lease, tonumber(not_after) - now), 0)
end

-- The record of a subscription outlives its lease by this, so that a worker can still deny it.
local AFTERLIFE = 600000
