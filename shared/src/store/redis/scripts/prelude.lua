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

-- Lets a key live for at least ttl more milliseconds; never shortens its life.
local function keep(key, ttl)
  if redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, integer(ttl))
  end
end

local function revision_of(session)
  return tonumber(redis.call('HGET', session, '.revision') or '0')
end

local function head_of(session)
  return redis.call('HGET', session, '.head') or '0-0'
end

-- Appends an entry to a topic's log and rings the topic's bell with it.
--   topic: {session, log, bell}; retention: {log ms, log entries, session ms}
local function append(topic, retention, now, revision, entry)
  local previous = head_of(topic.session)
  local oldest = integer(now - retention.log)
  local id = redis.call('XADD', topic.log, 'MINID', '~', oldest, '*', 'p', previous, 'r', integer(revision), 'e', entry)
  if redis.call('XLEN', topic.log) > retention.entries then
    redis.call('XTRIM', topic.log, 'MAXLEN', '~', retention.entries)
  end
  redis.call('HSET', topic.session, '.revision', integer(revision), '.head', id)
  redis.call('PEXPIRE', topic.log, integer(retention.log))
  keep(topic.session, retention.session)
  redis.call('PUBLISH', topic.bell, id .. ' ' .. previous .. ' ' .. integer(revision) .. ' ' .. entry)
  return id
end

-- Is the position a ("ms-seq") later than b?
local function is_later(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  a_ms, a_seq, b_ms, b_seq = tonumber(a_ms), tonumber(a_seq), tonumber(b_ms), tonumber(b_seq)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end

-- What remains of a subscription's lease in milliseconds; 0 when it is over or was never given.
local function lease_left(subscription, now)
  local expires = tonumber(redis.call('HGET', subscription, 'expires') or '0')
  return math.max(expires - now, 0)
end

-- The record of a subscription outlives its lease by this, so that a worker can still deny it.
local AFTERLIFE = 600000
