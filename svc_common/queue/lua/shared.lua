-- The state of the queue and the few moves that every script is made of. It stands in front of each script, behind the
-- constants of keys.py and policy.py. ARGV[1] of each script is the present time in ms, or '' for the server's clock.
--
-- A job is in exactly one place:
--   waiting: in TIER_QUEUE and in its account's LINE
--   leased:  in TIER_QUEUE, in LEASES, in its account's RUNNING, and (until it expires) in LEASE
-- and has JOB and PAYLOAD in both. An account is in FAIR and AGE exactly while a job of its LINE could start now, that
-- is while it has fewer jobs running than the oldest waiting one allows. So a claim never meets an account that it must
-- skip.
--
-- Fairness within a tier is start-time fair queueing (Goyal, Vin, Cheng 1996) with equal weights: the account with the
-- least virtual time is served, which adds the cost of the job to it. Who comes back from idleness starts at the tier's
-- clock at least, so idling earns nothing. The clock is the least virtual time among those that can be served after the
-- latest claim, not the tag of the job in service as in the paper: two accounts then alternate from the first job on.
-- When nothing of the tier waits or runs any more, nobody owes anything: the clock goes to the greatest virtual time.

local WAKE_BOUND = 1024        -- tokens beyond the number of idle workers are never needed
local ENDED_TTL_MS = 900000    -- longer than any worker can be frozen and still report: 15 min
local LAPSED_PER_CLAIM = 8     -- bounds the work of a claim after a mass death of workers
local PRUNED_PER_CLAIM = 8

local function now_ms()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Fences are the server's clock in microseconds, pushed on by one where needed: a plain counter would give numbers out
-- a second time after Redis lost its data. %.0f because Lua would print 16 digits in scientific notation.
local function next_fence()
  local time = redis.call('TIME')
  local latest = tonumber(redis.call('GET', FENCE) or 0)
  local fence = string.format('%.0f', math.max(latest + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', FENCE, fence)
  return fence
end

-- One token wakes exactly one of the workers that block on the list.
local function wake_one()
  redis.call('LPUSH', WAKE, '1')
  redis.call('LTRIM', WAKE, 0, WAKE_BOUND - 1)
end

local function line_of(tier, account)
  return LINE .. tier .. ':' .. account
end

local function clock_of(tier)
  return tonumber(redis.call('HGET', CLOCK, tier) or 0)
end

local function is_known(id)
  local tier = redis.call('HGET', JOB .. id, 'tier')
  return tier and redis.call('ZSCORE', TIER_QUEUE .. tier, id)
end

-- Nothing of a paused tier is claimed. Its lines and its accounts' virtual times go on as ever, so that it is as fair as
-- before when it goes on.
local function is_paused(tier)
  return redis.call('SISMEMBER', PAUSED, tier) == 1
end

-- Virtual time at which the account would be served if it became eligible now.
local function start_tag(tier, account)
  local served = redis.call('ZSCORE', FAIR .. tier, account)
  if served then return tonumber(served) end
  return math.max(tonumber(redis.call('ZSCORE', REST .. tier, account) or 0), clock_of(tier))
end

-- Gives back what a job was charged that goes back into the line. An account in neither set was pruned, that is, at
-- most at the clock, and would start at the clock anyway.
local function refund(tier, account, cost)
  for _, prefix in ipairs({FAIR, REST}) do
    if redis.call('ZSCORE', prefix .. tier, account) then
      redis.call('ZINCRBY', prefix .. tier, -cost, account)
      return
    end
  end
end

-- Moves the account into FAIR or out of it, as its line and its running jobs demand. Returns whether it is in FAIR.
local function settle_line(tier, account)
  local oldest = redis.call('ZRANGE', line_of(tier, account), 0, 0, 'WITHSCORES')
  local limit = oldest[1] and tonumber(redis.call('HGET', JOB .. oldest[1], 'limit') or 0)
  if limit and redis.call('SCARD', RUNNING .. account) < limit then
    redis.call('ZADD', FAIR .. tier, start_tag(tier, account), account)
    redis.call('ZREM', REST .. tier, account)
    redis.call('ZADD', AGE .. tier, oldest[2], account)
    return true
  end
  local served = redis.call('ZSCORE', FAIR .. tier, account)
  if served then
    redis.call('ZREM', FAIR .. tier, account)
    redis.call('ZADD', REST .. tier, served, account)
    redis.call('ZREM', AGE .. tier, account)
  end
  return false
end

-- Settles all lines of an account whose line in this tier or whose running jobs have changed: its jobs may wait in
-- several tiers (it was upgraded), but they run under one limit. Returns how many of them can be served now.
local function settle_account(tier, account)
  local eligible = settle_line(tier, account) and 1 or 0
  local others = {}
  for _, other in ipairs(TIERS) do
    if other ~= tier then others[#others + 1] = line_of(other, account) end
  end
  if #others == 0 or redis.call('EXISTS', unpack(others)) == 0 then return eligible end
  for _, other in ipairs(TIERS) do
    if other ~= tier and settle_line(other, account) then eligible = eligible + 1 end
  end
  return eligible
end

-- The record of a job as the scripts that can create one get it: from ARGV[first] on, by default
-- from ARGV[2]. Numbers stay strings on their way through.
local RECORD_LENGTH = 8

local function record_from_arguments(first)
  local field = function(number) return ARGV[(first or 2) + number] end
  return {
    id = field(0), tier = field(1), account = field(2), model = field(3),
    cost = field(4), limit = field(5), created = field(6), payload = field(7),
  }
end

local function write_record(job)
  redis.call('HSET', JOB .. job.id, 'tier', job.tier, 'account', job.account, 'model', job.model,
    'cost', job.cost, 'limit', job.limit, 'created', job.created)
  redis.call('SET', PAYLOAD .. job.id, job.payload)
  redis.call('ZADD', TIER_QUEUE .. job.tier, job.created, job.id)
end

-- Removes the job from everywhere and voids all leases of it up to the given fence.
local function forget(id, tier, account, fence)
  redis.call('ZREM', TIER_QUEUE .. tier, id)
  redis.call('ZREM', LEASES .. tier, id)
  redis.call('ZREM', line_of(tier, account), id)
  redis.call('SREM', RUNNING .. account, id)
  redis.call('DEL', PAYLOAD .. id, LEASE .. id, JOB .. id, CANCEL .. id)
  redis.call('SET', ENDED .. id, fence, 'PX', ENDED_TTL_MS)
  if redis.call('EXISTS', TIER_QUEUE .. tier) == 0 then
    local furthest = redis.call('ZREVRANGE', REST .. tier, 0, 0, 'WITHSCORES')[2]
    if furthest then redis.call('HSET', CLOCK, tier, math.max(tonumber(furthest), clock_of(tier))) end
    redis.call('UNLINK', REST .. tier)
  end
end

-- Returns a leased job to the line. It was the oldest of its account when it was claimed and keeps its creation time,
-- so it is at the head again.
local function put_back(id)
  local job = redis.call('HMGET', JOB .. id, 'tier', 'account', 'cost', 'created')
  local tier, account = job[1], job[2]
  redis.call('ZREM', LEASES .. tier, id)
  redis.call('DEL', LEASE .. id)
  redis.call('SREM', RUNNING .. account, id)
  redis.call('ZADD', line_of(tier, account), job[4], id)
  refund(tier, account, job[3])
  if settle_account(tier, account) > 0 then wake_one() end
end

-- Whether the lease is still the claimer's own: it holds the key, or the key is gone (expired, or Redis lost it) and
-- nobody with a later fence has held or ended the job since.
local function is_own(id, holder, fence)
  local present = redis.call('GET', LEASE .. id)
  if present then return present == holder end
  local ended = tonumber(redis.call('GET', ENDED .. id) or 0)
  local latest = tonumber(redis.call('HGET', JOB .. id, 'fence') or 0)
  return ended < fence and latest <= fence
end
