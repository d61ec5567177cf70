-- Puts jobs into their accounts' lines and wakes a worker for each. Returns for each 1, or 0 if it waits or is leased already.
-- ARGV: now, records (8 each)...
local function enqueue(job)
  if is_known(job.id) then return 0 end
  write_record(job)
  redis.call('ZADD', line_of(job.tier, job.account), job.created, job.id)
  if settle_line(job.tier, job.account) and not is_paused(job.tier) then wake_one() end
  return 1
end

local results = {}
for first = 2, #ARGV, RECORD_LENGTH do
  results[#results + 1] = enqueue(record_from_arguments(first))
end
return results
