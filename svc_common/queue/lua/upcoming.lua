-- Returns the models of the jobs that start next, in the order of their starts. Changes nothing.
-- ARGV: now (unused), how many
--
-- Claims are played through: the account with the least virtual time starts its oldest job and moves on by its cost (at
-- a tie the lesser account id, as in the set). What only the moment of a claim shows is left out: models that are
-- loaded by then, running limits that are reached or freed on the way, lapsed leases, and the turns of the starvation
-- guard.
local wanted = tonumber(ARGV[2])
local models = {}

local function is_before(one, other)
  return one.time < other.time or one.time == other.time and one.id < other.id
end

local function least_served(accounts)
  local least
  for _, account in ipairs(accounts) do
    if not least or is_before(account, least) then least = account end
  end
  return least
end

local function play(tier)
  local accounts = {}
  local fair = redis.call('ZRANGE', FAIR .. tier, 0, wanted - #models - 1, 'WITHSCORES')
  for index = 1, #fair, 2 do
    accounts[#accounts + 1] = {id = fair[index], time = tonumber(fair[index + 1]), started = 0}
  end
  while #models < wanted do
    local account = least_served(accounts)
    if not account or account.time == math.huge then return end
    local id = redis.call('ZRANGE', line_of(tier, account.id), account.started, account.started)[1]
    local job = id and redis.call('HMGET', JOB .. id, 'model', 'cost')
    if job and job[1] then models[#models + 1] = job[1] end
    account.started = account.started + 1
    account.time = id and account.time + tonumber(job[2] or 0) or math.huge
  end
end

for _, tier in ipairs(TIERS) do
  if #models < wanted and not is_paused(tier) then play(tier) end
end
return models
