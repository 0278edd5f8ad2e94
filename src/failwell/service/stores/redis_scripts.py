"""
What Redis carries out for the store, as scripts: each is one step that no other client sees half of.

Every script may run twice with the same arguments, because a client whose answer was lost sends
it again. Whoever asks brings a random token: what the token was told, or the state it left
behind, is what it finds the second time.

Times are whole microseconds. A number of Lua is a double, exact up to 2^53, which as
microseconds is the year 2255; it goes to Redis and back as text, because Redis would cut a
number off or write it with an exponent.

All keys of a script carry one hash tag, so that a cluster has them in one place.
"""

from __future__ import annotations

from hashlib import sha1

# `now` is the server's time unless one is passed in. One that is passed in runs apart from the
# server's, by which keys expire: then they live for at least a day, and what they say of their end
# decides.
_PRELUDE = """
local passed = ARGV[1] ~= ''
local now
if passed then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

local function left(at)
  local milliseconds = math.max(1, math.ceil((at - now) / 1000))
  return passed and math.max(milliseconds, 86400000) or milliseconds
end
"""

# The claims that nobody may take over, in KEYS[2], in the order in which their leases lapse.
_INDEX = """
local function index(slot, lapses, ends)
  redis.call('ZADD', KEYS[2], text(lapses), slot)
  if redis.call('PTTL', KEYS[2]) < left(ends) then
    redis.call('PEXPIRE', KEYS[2], text(left(ends)))
  end
end
"""


class Script:
    """
    A script, and the name by which Redis remembers it.

    Attributes:
        source: What it does.
        sha: SHA-1 of it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()


# KEYS: the key, the tenants that are shut out. The tenant is the second of the fields.
FIND = Script("""
local found = redis.call('HMGET', KEYS[1], 'digest', 'tenant', 'principal', 'scopes', 'role', 'tier',
                         'state', 'expires_at', 'limits')
if not found[1] then
  return false
end
found[#found + 1] = redis.call('SISMEMBER', KEYS[2], found[2])
return found
""")

# KEYS: the key.
REVOKE = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'revoked')
return 1
""")

# KEYS: the numbers of a subject, what this token was told.
# ARGV: now, how long that is remembered (ms), and each limit's interval and span.
# A refused request moves nothing, so that its outcome need not be remembered: under an attack,
# these are the many.
# The least of a number and the window's end forgives a clock that was set back.
TAKE = Script(
    _PRELUDE
    + """
local told = redis.call('GET', KEYS[2])
if told then
  return told
end
local tats = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do
  tats[#tats + 1] = tonumber(word) or false
end
local number = (#ARGV - 2) / 2
local allowed, changed = true, false
local kept, moved = {}, {}
for n = 1, number do
  local interval, span = tonumber(ARGV[2 * n + 1]), tonumber(ARGV[2 * n + 2])
  kept[n] = math.min(tats[n] or now, now + span)
  moved[n] = math.max(kept[n], now) + interval
  allowed = allowed and moved[n] <= now + span
  changed = changed or kept[n] ~= tats[n]
end
local outcome = {allowed and '1' or '0', text(now)}
for n = 1, number do
  tats[n] = allowed and moved[n] or kept[n]
  outcome[n + 2] = text(tats[n])
end
outcome = table.concat(outcome, ' ')
if allowed or changed then
  local words, ends = {}, 0
  for n = 1, #tats do
    words[n] = tats[n] and text(tats[n]) or '-'
    ends = math.max(ends, tats[n] or 0)
  end
  redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', text(left(ends)))
end
if allowed then
  redis.call('SET', KEYS[2], outcome, 'PX', ARGV[2])
end
return outcome
"""
)

# KEYS: the record, the index.
# ARGV: now, slot, fingerprint, token, request id, whether it may be taken over, lease, keep.
CLAIM = Script(
    _PRELUDE
    + _INDEX
    + """
local slot, fingerprint, token = ARGV[2], ARGV[3], ARGV[4]
local was = redis.call('HMGET', KEYS[1], 'fingerprint', 'token', 'request_id', 'take_over', 'lapses',
                       'ends', 'status', 'headers', 'body')

local function held()
  local said = {'held'}
  local fields = redis.call('HGETALL', KEYS[1])
  for n = 1, #fields, 2 do
    if string.sub(fields[n], 1, 5) == 'step:' then
      said[#said + 1] = string.sub(fields[n], 6)
      said[#said + 1] = fields[n + 1]
    end
  end
  return said
end

if was[1] and tonumber(was[6]) > now then
  if was[1] ~= fingerprint then
    return {'mismatch'}
  end
  if was[7] then
    return {'recorded', was[3], was[7], was[8], was[9]}
  end
  if was[2] == token then
    return held()
  end
  if tonumber(was[5]) > now then
    return {'in_flight', text(tonumber(was[5]) - now)}
  end
  if was[4] == '0' then
    return {'unsettled', was[3], was[5]}
  end
elseif was[1] then
  redis.call('DEL', KEYS[1])
end
local lapses, ends = now + tonumber(ARGV[7]), now + tonumber(ARGV[8])
redis.call('HSET', KEYS[1], 'fingerprint', fingerprint, 'token', token, 'request_id', ARGV[5],
           'take_over', ARGV[6], 'lapses', text(lapses), 'ends', text(ends))
redis.call('PEXPIRE', KEYS[1], text(left(ends)))
if ARGV[6] == '0' then
  index(slot, lapses, ends)
else
  redis.call('ZREM', KEYS[2], slot)
end
return held()
"""
)

# KEYS: the record, the index. ARGV: now, slot, token, lease.
RENEW = Script(
    _PRELUDE
    + _INDEX
    + """
local was = redis.call('HMGET', KEYS[1], 'token', 'status', 'take_over', 'ends')
if was[1] ~= ARGV[3] or was[2] then
  return 0
end
local lapses = now + tonumber(ARGV[4])
local ends = math.max(tonumber(was[4]), lapses)
redis.call('HSET', KEYS[1], 'lapses', text(lapses), 'ends', text(ends))
redis.call('PEXPIRE', KEYS[1], text(left(ends)))
if was[3] == '0' then
  index(ARGV[2], lapses, ends)
end
return 1
"""
)

# KEYS: the record. ARGV: token, the step's name, its result.
KEEP_STEP = Script("""
local was = redis.call('HMGET', KEYS[1], 'token', 'status')
if was[1] ~= ARGV[1] or was[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'steps', '1', 'step:' .. ARGV[2], ARGV[3])
return 1
""")

# KEYS: the record, the index. ARGV: now, slot, token, keep, status, and unless that is 0, headers
# and body.
RECORD = Script(
    _PRELUDE
    + """
local was = redis.call('HMGET', KEYS[1], 'token', 'status')
if was[1] ~= ARGV[3] then
  return 0
end
if was[2] then
  return 1
end
local ends = now + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'status', ARGV[5], 'ends', text(ends))
if ARGV[6] then
  redis.call('HSET', KEYS[1], 'headers', ARGV[6], 'body', ARGV[7])
end
redis.call('PEXPIRE', KEYS[1], text(left(ends)))
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
"""
)

# KEYS: the record, the index. ARGV: now, slot, token.
RELEASE = Script(
    _PRELUDE
    + _INDEX
    + """
local was = redis.call('HMGET', KEYS[1], 'token', 'status', 'steps', 'take_over', 'ends')
if was[1] ~= ARGV[3] or was[2] then
  return 0
end
if not was[3] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
  return 1
end
redis.call('HSET', KEYS[1], 'lapses', text(now))
if was[4] == '0' then
  index(ARGV[2], now, tonumber(was[5]))
end
return 1
"""
)

# KEYS: the index. ARGV: now, how many to pass over, how many to return.
LAPSED = Script(
    _PRELUDE
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', ARGV[2], ARGV[3])
"""
)

# KEYS: the index, then records. ARGV: now, then their slots. What has no record any more leaves
# the index here, because only here nobody can make a new one in between.
LOOK = Script(
    _PRELUDE
    + """
local said = {}
for n = 2, #KEYS do
  local was = redis.call('HMGET', KEYS[n], 'request_id', 'lapses', 'ends', 'status', 'take_over')
  if not was[1] or was[4] or was[5] == '1' or tonumber(was[3]) <= now then
    redis.call('ZREM', KEYS[1], ARGV[n])
    said[#said + 1] = 'gone'
  elseif tonumber(was[2]) > now then
    said[#said + 1] = 'held'
  else
    said[#said + 1] = {was[1], was[2]}
  end
end
return said
"""
)

# KEYS: the record, the index, what this token was told.
# ARGV: now, slot, the claim's request id and when its lease lapsed, token, how long that is
# remembered (ms), keep, and if there is an answer, its status, headers and body. The claim's token
# changes, so that a holder who comes back after all finds itself fenced out.
SETTLE = Script(
    _PRELUDE
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then
  return 1
end
local was = redis.call('HMGET', KEYS[1], 'take_over', 'lapses', 'ends', 'status', 'request_id')
if was[1] ~= '0' or was[4] or tonumber(was[2]) > now or tonumber(was[3]) <= now then
  return 0
end
if was[5] ~= ARGV[3] or was[2] ~= ARGV[4] then
  return 0
end
if ARGV[8] then
  local ends = now + tonumber(ARGV[7])
  redis.call('HSET', KEYS[1], 'token', ARGV[5], 'status', ARGV[8], 'headers', ARGV[9], 'body', ARGV[10],
             'ends', text(ends))
  redis.call('PEXPIRE', KEYS[1], text(left(ends)))
else
  redis.call('DEL', KEYS[1])
end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[6])
return 1
"""
)
