-- Leases tokens of the bucket KEYS[1], which gains ARGV[1] a second up to ARGV[2] and begins full, to the holder ARGV[3].
-- The holder gives back ARGV[4] tokens that are left of its lease, if that hasn't lapsed; the others are used. Then up to
-- ARGV[5] whole tokens are its new lease, for ARGV[6] ms.
-- Tokens on lease take up room in the bucket: with them it holds ARGV[2] at most. So in any span of time all holders
-- together use no more than the burst and what the bucket gains in that span.
-- Returns {tokens leased, ms until the bucket has a whole token (0 when it has one now)}.
local rate, burst, holder = tonumber(ARGV[1]), tonumber(ARGV[2]), 'lease:' .. ARGV[3]
local returned, wanted, lifetime = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_ms()
local tokens, time, own, leased = burst, now, 0, 0
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local name, value = fields[at], fields[at + 1]
  if name == 'tokens' then
    tokens = tonumber(value)
  elseif name == 'time' then
    time = tonumber(value)
  else
    local count, expiry = string.match(value, '^(%d+):(.+)$')
    if tonumber(expiry) <= now then
      redis.call('HDEL', KEYS[1], name)
    else
      leased = leased + tonumber(count)
      if name == holder then own = tonumber(count) end
    end
  end
end
tokens = math.min(burst - leased, tokens + math.max(0, now - time) * rate / 1000)
tokens = tokens + math.min(returned, own)
local taken = math.max(0, math.min(wanted, math.floor(tokens)))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'time', string.format('%.3f', now))
if taken > 0 then
  redis.call('HSET', KEYS[1], holder, string.format('%d:%.3f', taken, now + lifetime))
else
  redis.call('HDEL', KEYS[1], holder)
end
-- When it is full again and no lease is out, it needn't be remembered.
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) * 1000 / rate) + lifetime)
return {taken, math.max(0, math.ceil((1 - tokens) * 1000 / rate))}
