-- Stands in front of each script: the time is the server's, so that processes with different clocks agree.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + time[2] / 1000
end
