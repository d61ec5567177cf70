-- Returns for each tier, highest first, how many jobs wait and how many are leased: {waiting, leased, waiting, ...}
local depths = {}
for _, tier in ipairs(TIERS) do
  local leased = redis.call('ZCARD', LEASES .. tier)
  depths[#depths + 1] = redis.call('ZCARD', TIER_QUEUE .. tier) - leased
  depths[#depths + 1] = leased
end
return depths
