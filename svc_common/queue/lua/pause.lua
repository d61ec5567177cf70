-- Pauses exactly the given tiers, and wakes workers for what waits in those that go on.
-- ARGV: now (unused), names of tiers...
local wanted = {}
for index = 2, #ARGV do wanted[ARGV[index]] = true end
for _, tier in ipairs(TIERS) do
  if wanted[tier] then
    redis.call('SADD', PAUSED, tier)
  elseif redis.call('SREM', PAUSED, tier) == 1 then
    -- Jobs that can't start yet are among them: a token too many ends with the first claim that finds nothing.
    local waiting = redis.call('ZCARD', TIER_QUEUE .. tier) - redis.call('ZCARD', LEASES .. tier)
    for _ = 1, math.min(waiting, WAKE_BOUND) do wake_one() end
  end
end
return 1
