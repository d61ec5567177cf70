-- Puts a job into its account's line and wakes one worker. Returns 1, or 0 if the job waits or is leased already.
-- ARGV: now, record (8)
local job = record_from_arguments()
if is_known(job.id) then return 0 end
write_record(job)
redis.call('ZADD', line_of(job.tier, job.account), job.created, job.id)
if settle_line(job.tier, job.account) then wake_one() end
return 1
