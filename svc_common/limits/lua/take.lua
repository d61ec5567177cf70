-- Takes up to ARGV[3] whole tokens from the bucket KEYS[1], which gains ARGV[1] a second up to ARGV[2] and begins full.
-- Returns {tokens taken, ms until there is a whole one again (0 when some were taken)}.
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'time')
local tokens = tonumber(kept[1] or burst)
local elapsed = math.max(0, now - tonumber(kept[2] or now))
tokens = math.min(burst, tokens + elapsed * rate / 1000)
local taken = math.min(wanted, math.floor(tokens))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'time', string.format('%.3f', now))
-- When it is full again it needn't be remembered.
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) * 1000 / rate) + 1000)
if taken > 0 then return {taken, 0} end
return {0, math.ceil((1 - tokens) * 1000 / rate)}
