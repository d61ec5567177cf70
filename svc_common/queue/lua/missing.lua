-- Returns those of the ids that are neither waiting nor leased.
-- ARGV: now (unused), ids...
local missing = {}
for index = 2, #ARGV do
  if not is_known(ARGV[index]) then missing[#missing + 1] = ARGV[index] end
end
return missing
