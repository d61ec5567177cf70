-- Chooses the next job and leases it. Returns {payload, fence, whether its cancellation is wanted, whether it is claimed for
-- the first time}, or nil if nothing can start now.
-- ARGV: now, worker, lease_ms, models that are loaded...
local now = now_ms()
local worker, lease_ms = ARGV[2], tonumber(ARGV[3])

local function put_back_lapsed()
  for _, tier in ipairs(TIERS) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES .. tier, '-inf', now, 'LIMIT', 0, LAPSED_PER_CLAIM)) do
      -- Without its record (deleted by hand) a job can't go back; its owner's sweep enqueues it anew.
      if is_known(id) then put_back(id) else redis.call('ZREM', LEASES .. tier, id) end
    end
  end
end

-- The account whose oldest job has waited longest of all that are past their tier's longest wait; nil between turns.
local function choose_overdue()
  local turn = tonumber(redis.call('GET', CLAIMS) or 0) + 1
  if turn % GUARD_INTERVAL ~= 0 then return nil end
  local chosen_tier, chosen_account, oldest_ms
  for index, tier in ipairs(TIERS) do
    local oldest = redis.call('ZRANGE', AGE .. tier, 0, 0, 'WITHSCORES')
    local created = tonumber(oldest[2])
    local overdue = created and MAX_WAIT_MS[index] > 0 and now - created > MAX_WAIT_MS[index]
    if overdue and not is_paused(tier) and (not oldest_ms or created < oldest_ms) then
      chosen_tier, chosen_account, oldest_ms = tier, oldest[1], created
    end
  end
  return chosen_tier, chosen_account
end

local function is_loaded(model)
  for index = 4, #ARGV do
    if ARGV[index] == model then return true end
  end
  return false
end

-- Of the given accounts (id, virtual time, id, ...; least-served first) the first one whose oldest job has a loaded
-- model or was passed over too often; the least-served one if there is none. The jobs before the chosen one count as
-- passed over.
local function choose_by_model(tier, accounts)
  local passed = {}
  for index = 1, #accounts, 2 do
    if tonumber(accounts[index + 1]) - tonumber(accounts[2]) > AFFINITY_SLACK then break end
    local id = redis.call('ZRANGE', line_of(tier, accounts[index]), 0, 0)[1]
    local job = redis.call('HMGET', JOB .. id, 'model', 'passed')
    if is_loaded(job[1]) or tonumber(job[2] or 0) >= MAX_PASS_OVERS then
      for _, passed_id in ipairs(passed) do redis.call('HINCRBY', JOB .. passed_id, 'passed', 1) end
      return accounts[index]
    end
    passed[#passed + 1] = id
  end
  return accounts[1]
end

local function choose_fairly()
  for _, tier in ipairs(TIERS) do
    local accounts = redis.call('ZRANGE', FAIR .. tier, 0, AFFINITY_WINDOW - 1, 'WITHSCORES')
    if #accounts > 0 and not is_paused(tier) then
      if #accounts > 2 and #ARGV > 3 then return tier, choose_by_model(tier, accounts) end
      return tier, accounts[1]
    end
  end
  return nil
end

local function least_virtual_time(tier)
  return tonumber(redis.call('ZRANGE', FAIR .. tier, 0, 0, 'WITHSCORES')[2])
end

-- The clock never runs back, and it follows the least-served account also when another was preferred: a newcomer must
-- not be put behind those who were served out of turn. Who rests at or behind it would start there anyway and is
-- forgotten.
local function advance_clock(tier, least)
  if least <= clock_of(tier) then return end
  redis.call('HSET', CLOCK, tier, least)
  local behind = redis.call('ZRANGEBYSCORE', REST .. tier, '-inf', least, 'LIMIT', 0, PRUNED_PER_CLAIM)
  if #behind > 0 then redis.call('ZREM', REST .. tier, unpack(behind)) end
end

local function lease(tier, account, id, payload)
  local fence = next_fence()
  local cost = redis.call('HGET', JOB .. id, 'cost')
  redis.call('ZREM', line_of(tier, account), id)
  redis.call('SADD', RUNNING .. account, id)
  redis.call('SET', LEASE .. id, worker .. ':' .. fence, 'PX', lease_ms)
  redis.call('ZADD', LEASES .. tier, now + lease_ms, id)
  local is_first = redis.call('HSET', JOB .. id, 'fence', fence)  -- the number of fields that weren't there
  redis.call('INCR', CLAIMS)
  local served = tonumber(redis.call('ZINCRBY', FAIR .. tier, cost, account))
  settle_account(tier, account)
  -- If nobody is left it was alone and the least-served itself, at the time from before the charge.
  advance_clock(tier, least_virtual_time(tier) or served - cost)
  return {payload, fence, redis.call('EXISTS', CANCEL .. id), is_first}
end

put_back_lapsed()
-- A payload can only be missing if somebody deleted it by hand. Such a job is dropped; its owner's sweep enqueues it
-- anew.
for _ = 1, 8 do
  local tier, account = choose_overdue()
  if not tier then tier, account = choose_fairly() end
  if not tier then
    redis.call('DEL', WAKE)  -- nothing can start, so every token is stale
    return nil
  end
  local id = redis.call('ZRANGE', line_of(tier, account), 0, 0)[1]
  local payload = redis.call('GET', PAYLOAD .. id)
  if payload then return lease(tier, account, id, payload) end
  forget(id, tier, account, next_fence())
  settle_account(tier, account)
end
return nil
