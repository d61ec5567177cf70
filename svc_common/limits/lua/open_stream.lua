-- Adds the stream ARGV[1] to those of KEYS[1], unless there are ARGV[2]. It counts for ARGV[3] ms, unless it is kept.
-- Returns 1, or 0 when there are too many.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
