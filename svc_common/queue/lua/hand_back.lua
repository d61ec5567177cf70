-- Returns a leased job to the head of its account's line at once. Returns 1, or 0 if the lease was lost.
-- ARGV: now, record (8), holder, fence
local job = record_from_arguments()
local holder, fence = ARGV[10], ARGV[11]
if not is_own(job.id, holder, tonumber(fence)) then return 0 end
if not is_known(job.id) then write_record(job) end
-- A renewal that was sent before this call and arrives after it must not take the lease again: it is outdated from here
-- on.
redis.call('HSET', JOB .. job.id, 'fence', next_fence())
if redis.call('SISMEMBER', RUNNING .. job.account, job.id) == 1 then
  put_back(job.id)
else
  redis.call('ZADD', line_of(job.tier, job.account), job.created, job.id)
  if settle_line(job.tier, job.account) then wake_one() end
end
return 1
