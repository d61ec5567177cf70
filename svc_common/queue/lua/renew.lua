-- Extends a lease. If Redis lost it and nobody newer has held the job, the lease is taken again and everything known
-- about the job is written anew. Returns 0 if the lease is lost, 1 if it is held, 2 if it is held and cancellation is
-- wanted.
-- ARGV: now, record (8), holder, fence, lease_ms
local job = record_from_arguments()
local holder, fence, lease_ms = ARGV[10], ARGV[11], tonumber(ARGV[12])

-- Charges the account again for a job that goes from the line back to its worker, which had been refunded.
local function charge()
  if redis.call('ZSCORE', FAIR .. job.tier, job.account) then
    redis.call('ZINCRBY', FAIR .. job.tier, job.cost, job.account)
  else
    redis.call('ZADD', REST .. job.tier, start_tag(job.tier, job.account) + job.cost, job.account)
  end
end

if not is_own(job.id, holder, tonumber(fence)) then return 0 end

redis.call('SET', LEASE .. job.id, holder, 'PX', lease_ms)
redis.call('ZADD', LEASES .. job.tier, now_ms() + lease_ms, job.id)
if redis.call('SISMEMBER', RUNNING .. job.account, job.id) == 0 then
  write_record(job)
  redis.call('HSET', JOB .. job.id, 'fence', fence)
  redis.call('SADD', RUNNING .. job.account, job.id)
  if redis.call('ZREM', line_of(job.tier, job.account), job.id) == 1 then charge() end
  settle_account(job.tier, job.account)
end
return 1 + redis.call('EXISTS', CANCEL .. job.id)
