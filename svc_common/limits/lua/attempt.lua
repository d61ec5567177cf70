-- Charges one attempt to budgets before its outcome is known, so that parallel attempts can't all pass the same check.
-- KEYS: the marker of a known origin, the budget of that origin, then the budgets that count when it isn't known.
-- ARGV: for each budget its delays in ms after the 1st, 2nd, ... failure (comma-separated, the last one repeats), and for
-- how many ms it is remembered.
-- Returns {ms to wait (0: charged), 1 if the origin is known}. A refused attempt changes nothing: impatience isn't punished.
local known = redis.call('EXISTS', KEYS[1])
local first, last = 3, #KEYS
if known == 1 then first, last = 2, 2 end
local now, wait = now_ms(), 0
for at = first, last do
  wait = math.max(wait, tonumber(redis.call('HGET', KEYS[at], 'open') or 0) - now)
end
if wait > 0 then return {math.ceil(wait), known} end
for at = first, last do
  local failures = redis.call('HINCRBY', KEYS[at], 'failures', 1)
  local delay, count = 0, 0
  for each in string.gmatch(ARGV[2 * at - 3], '[^,]+') do
    delay, count = tonumber(each), count + 1
    if count == failures then break end
  end
  redis.call('HSET', KEYS[at], 'open', string.format('%.0f', math.floor(now + delay)))
  redis.call('PEXPIRE', KEYS[at], ARGV[2 * at - 2])
end
return {0, known}
