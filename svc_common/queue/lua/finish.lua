-- Removes a job that has ended, unless somebody newer holds it. Returns 1 if it was removed, 0 if the lease was lost.
-- ARGV: now, id, tier, account, holder, fence
local id, tier, account, holder, fence = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if not is_own(id, holder, tonumber(fence)) then return 0 end
forget(id, tier, account, fence)
for _ = 1, settle_account(tier, account) do wake_one() end
return 1
