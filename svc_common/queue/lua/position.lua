-- Estimates for each given job how many start before it; -1 for one that isn't waiting.
-- ARGV: now (unused), then for each: id of a waiting job | '', tier, account; the last two of a job that may be enqueued,
-- when there is no id
--
-- Everything that waits in a higher tier starts before it, unless that tier is paused; its own is taken as if it weren't. Within its tier all jobs are taken as equally dear, c each:
-- with r jobs of its own account ahead, it starts when its account's virtual time, now v, has come to v + r c. Another
-- account at w starts its jobs at w, w + c, w + 2c, ...; those before v + r c start first (at a tie the lesser account
-- id). So
--   position = jobs in higher tiers + r + sum over other accounts of min(its jobs, its times before v + r c)
-- This is exact for equal costs. Only the 64 least-served accounts are looked at. Of those further behind each is taken
-- to be where the last of the 64 is, and all accounts at their running limit together as one that keeps step with this
-- one. The starvation guard is left out: it moves at most every so many claims.
local ACCOUNTS_LOOKED_AT = 64

local function position_of(id, tier, account)
  local own_ahead
  if id ~= '' then
    local job = redis.call('HMGET', JOB .. id, 'tier', 'account')
    tier, account = job[1], job[2]
    own_ahead = tier and redis.call('ZRANK', line_of(tier, account), id)
    if not own_ahead then return -1 end
  else
    own_ahead = redis.call('ZCARD', line_of(tier, account))
  end

  local function waiting_in(a_tier)
    return redis.call('ZCARD', TIER_QUEUE .. a_tier) - redis.call('ZCARD', LEASES .. a_tier)
  end

  local function waiting_in_higher_tiers()
    local waiting = 0
    for _, higher in ipairs(TIERS) do
      if higher == tier then return waiting end
      if not is_paused(higher) then waiting = waiting + waiting_in(higher) end
    end
  end

  -- The cost of the oldest job of the own account, or else of the least-served one, stands for that of all.
  local function usual_cost(least_served)
    for _, owner in ipairs({account, least_served}) do
      local oldest = redis.call('ZRANGE', line_of(tier, owner), 0, 0)[1]
      if oldest then return tonumber(redis.call('HGET', JOB .. oldest, 'cost') or 1) end
    end
    return 1
  end

  local others = redis.call('ZRANGE', FAIR .. tier, 0, ACCOUNTS_LOOKED_AT - 1, 'WITHSCORES')
  local cost = usual_cost(others[1])
  local own_start = start_tag(tier, account) + own_ahead * cost

  local function turns_before(virtual_time, wins_ties)
    local turns = (own_start - virtual_time) / cost
    if wins_ties and turns == math.floor(turns) then turns = turns + 1 end
    return math.max(math.ceil(turns), 0)
  end

  local position = waiting_in_higher_tiers() + own_ahead
  local unseen_jobs = waiting_in(tier) - redis.call('ZCARD', line_of(tier, account))
  local unseen_accounts = redis.call('ZCARD', FAIR .. tier) - #others / 2
  local furthest = 0
  for index = 1, #others, 2 do
    local other = others[index]
    furthest = tonumber(others[index + 1])
    if other ~= account then
      local waiting = redis.call('ZCARD', line_of(tier, other))
      position = position + math.min(waiting, turns_before(furthest, other < account))
      unseen_jobs = unseen_jobs - waiting
    end
  end
  return position + math.min(unseen_jobs, unseen_accounts * turns_before(furthest, false) + own_ahead)
end

local positions = {}
for first = 2, #ARGV, 3 do
  positions[#positions + 1] = position_of(ARGV[first], ARGV[first + 1], ARGV[first + 2])
end
return positions
