-- Estimates how many jobs start before a job. Returns -1 if the given job isn't waiting.
-- ARGV: now (unused), id of a waiting job | '', and without an id: tier, account of a job that may be enqueued
--
-- Everything that waits in a higher tier starts before it. Within its tier, with r jobs of its own account ahead of it,
-- the others get about as many turns as its account gets until then: r each, and one more those who have had less. So
--   position = higher + r + sum over other accounts a of min(length of a's line, r + [a is served before me])
-- Jobs are taken as equally dear. Only the 64 least-served accounts are looked at; the rest, and the accounts at their
-- running limit (counted as one), together get min(their jobs, r each). The starvation guard is left out: it moves at most
-- every tenth claim.
local ACCOUNTS_LOOKED_AT = 64

local id, tier, account = ARGV[2], ARGV[3], ARGV[4]
local own_ahead
if id ~= '' then
  local job = redis.call('HMGET', JOB .. id, 'tier', 'account')
  tier, account = job[1], job[2]
  own_ahead = tier and redis.call('ZRANK', line_of(tier, account), id)
  if not own_ahead then return -1 end
else
  own_ahead = redis.call('ZCARD', line_of(tier, account))
end

local position = own_ahead
local waiting_in_tier
for _, other in ipairs(TIERS) do
  local waiting = redis.call('ZCARD', TIER_QUEUE .. other) - redis.call('ZCARD', LEASES .. other)
  if other == tier then
    waiting_in_tier = waiting
    break
  end
  position = position + waiting
end

local own_tag = start_tag(tier, account)
local others = redis.call('ZRANGE', FAIR .. tier, 0, ACCOUNTS_LOOKED_AT - 1, 'WITHSCORES')
local unseen = waiting_in_tier - redis.call('ZCARD', line_of(tier, account))
local unseen_accounts = redis.call('ZCARD', FAIR .. tier) - #others / 2
for index = 1, #others, 2 do
  local other, tag = others[index], tonumber(others[index + 1])
  if other ~= account then
    local waiting = redis.call('ZCARD', line_of(tier, other))
    local served_first = tag < own_tag or (tag == own_tag and other < account)
    position = position + math.min(waiting, own_ahead + (served_first and 1 or 0))
    unseen = unseen - waiting
  end
end
return position + math.min(unseen, own_ahead * math.max(unseen_accounts, 1))
