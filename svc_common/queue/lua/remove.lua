-- Removes a waiting job; one whose lease has lapsed counts as waiting. Returns 1, or 0 if the job is leased or unknown.
-- ARGV: now, id
local id = ARGV[2]
local job = redis.call('HMGET', JOB .. id, 'tier', 'account')
local tier, account = job[1], job[2]
if not tier then return 0 end
local lapses = tonumber(redis.call('ZSCORE', LEASES .. tier, id) or 0)
if lapses > now_ms() then return 0 end
forget(id, tier, account, next_fence())
settle_account(tier, account)
return 1
