-- The content of a topic: a hash of named values, with '.bytes' beside them, and a sorted set of the
-- names, so that those of one context are found without looking at the others. '.bytes' counts values as they are
-- kept, sealed or not.

-- The names that begin like this; prefix ends with '/', and '0' follows '/'.
local function below(names, prefix)
  return redis.call('ZRANGEBYLEX', names, '[' .. prefix, '(' .. string.sub(prefix, 1, -2) .. '0')
end

-- The values of many names.
local function values_of(content, fields)
  local values = {}
  for first = 1, #fields, 1000 do
    local some = redis.call('HMGET', content, unpack(fields, first, math.min(first + 999, #fields)))
    for _, value in ipairs(some) do
      values[#values + 1] = value
    end
  end
  return values
end

-- Reads the changes that begin at an argument.
local function changes_of(arguments, first)
  local changes, i = {}, first
  while i <= #arguments do
    local has_value = arguments[i] == 'keep' or arguments[i] == 'new'
    changes[#changes + 1] = {what = arguments[i], field = arguments[i + 1], value = has_value and arguments[i + 2]}
    i = i + (has_value and 3 or 2)
  end
  return changes
end

-- Why the changes cannot be made: 'exists', 'full' or nil.
local function refusal_of(content, changes, most)
  local added, removed = 0, 0
  for _, change in ipairs(changes) do
    if change.value then
      if change.what == 'new' and redis.call('HEXISTS', content, change.field) == 1 then
        return 'exists'
      end
      added = added + #change.value
      removed = removed + redis.call('HSTRLEN', content, change.field)
    elseif change.what == 'remove' then
      removed = removed + redis.call('HSTRLEN', content, change.field)
    end
  end
  if added > removed and (redis.call('HGET', content, '.bytes') or 0) + added - removed > most then
    return 'full'
  end
end

local function remove(content, names, field)
  local bytes = redis.call('HSTRLEN', content, field)
  if redis.call('HDEL', content, field) == 1 then
    -- Not -bytes: of nothing that is '-0', which Redis takes for no number.
    redis.call('HINCRBY', content, '.bytes', 0 - bytes)
    redis.call('ZREM', names, field)
  end
end

-- Makes the changes.
local function change_content(content, names, changes)
  for _, change in ipairs(changes) do
    if change.value then
      local bytes = #change.value - redis.call('HSTRLEN', content, change.field)
      redis.call('HSET', content, change.field, change.value)
      redis.call('HINCRBY', content, '.bytes', bytes)
      redis.call('ZADD', names, 0, change.field)
    elseif change.what == 'remove' then
      remove(content, names, change.field)
    elseif change.what == 'remove named' then
      local named = redis.call('HGET', content, change.field)
      remove(content, names, change.field)
      if named then
        remove(content, names, named)
      end
    else
      for _, field in ipairs(below(names, change.field)) do
        remove(content, names, field)
      end
    end
  end
  if redis.call('ZCARD', names) == 0 then
    redis.call('DEL', content)
  end
end

