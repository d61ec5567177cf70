-- Returns those of the ids whose lease has not lapsed.
-- ARGV: now, ids...
local now = now_ms()
local leased = {}
for index = 2, #ARGV do
  local id = ARGV[index]
  local tier = redis.call('HGET', JOB .. id, 'tier')
  local lapses = tier and redis.call('ZSCORE', LEASES .. tier, id)
  if lapses and tonumber(lapses) > now then leased[#leased + 1] = id end
end
return leased
