-- Keeps the streams ARGV[2], ARGV[3], ... of KEYS[1] for ARGV[1] ms more, and adds those that were lost with their Redis.
local expiry = now_ms() + ARGV[1]
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], expiry, ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
