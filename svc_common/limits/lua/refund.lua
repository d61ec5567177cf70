-- Takes back the charge of an attempt that was no failure. When the next one may begin stays as it is.
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'failures') or 0) > 0 then redis.call('HINCRBY', key, 'failures', -1) end
end
return 1
