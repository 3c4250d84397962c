"""Lua scripts of the Valkey store. Each runs as one step: the server answers no other client meanwhile."""

# KEYS last, events, seen, state, items
# ARGV expected last, number of events; (id, bytes) of the events; (hash, key, value) of the entries, where
#      hash is an index into KEYS, negative to delete the key
COMMIT = """
local last = redis.call('GET', KEYS[1]) or '0'
if last ~= ARGV[1] then return 0 end
local number, first_entry = tonumber(last), 3 + 2 * ARGV[2]
for i = 3, first_entry - 1, 2 do
  number = number + 1
  redis.call('XADD', KEYS[2], string.format('0-%.0f', number), 'e', ARGV[i + 1])
  redis.call('SADD', KEYS[3], ARGV[i])
end
redis.call('SET', KEYS[1], string.format('%.0f', number))
for i = first_entry, #ARGV, 3 do
  local hash = tonumber(ARGV[i])
  if hash > 0 then
    redis.call('HSET', KEYS[hash], ARGV[i + 1], ARGV[i + 2])
  else
    redis.call('HDEL', KEYS[-hash], ARGV[i + 1])
  end
end
return 1
"""

# KEYS document; ARGV new value, then the expected value, absent if there must be no document
WRITE_DOCUMENT = """
if redis.call('GET', KEYS[1]) ~= (ARGV[2] or false) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
# KEYS lease; ARGV holder, milliseconds, 0 to end it
ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
"""
