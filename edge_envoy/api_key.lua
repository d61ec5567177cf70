-- Puts an access token in the place of an API key, by asking svc_user for one (ApiKeyService.ExchangeApiKey). Everything
-- behind it, here and in the services, knows access tokens only. Runs right before jwt_authn.
--
-- A key may stand in `x-api-key`, as a bearer token, or as the password of Basic. When there is no token for it, the request
-- goes on without a credential, and REFUSAL_HEADER says why: jwt_authn refuses it where a credential is needed, and the
-- local reply tells the caller the reason.
--
-- The bridge's requests for other products' APIs (COMPAT) keep their key, as a bearer token: they wait longer than a key's token
-- lives, so that the bridge asks for tokens itself.
--
-- REFUSAL_HEADER and COMPAT are rendered in front of this text (edge_envoy/configuration.py).

local EXCHANGE = "/pingvas.user.v1.ApiKeyService/ExchangeApiKey"
local TIMEOUT_MS = 2000
local PREFIX = "pgv_"
local MAX_KEY_BYTES = 120   -- One byte says the length in the request's message.
local KEPT_SECONDS = 30     -- Half of a token's life, so that it doesn't end on its way.
local MAX_KEPT = 1000

local INVALID, LIMITED, AWAY = "invalid", "limited", "away"
local REASONS = {["3"] = INVALID, ["16"] = INVALID, ["8"] = LIMITED}  -- by grpc-status

-- The tokens of keys that this worker thread has seen: {token, ends}.
local kept, kept_count = {}, 0

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function from_base64(text)
  local bits, count, bytes = 0, 0, {}
  for i = 1, #text do
    local digit = BASE64:find(text:sub(i, i), 1, true)
    if not digit then
      break
    end
    bits, count = bits * 64 + digit - 1, count + 6
    if count >= 8 then
      count = count - 8
      bytes[#bytes + 1] = string.char(math.floor(bits / 2 ^ count) % 256)
      bits = bits % 2 ^ count
    end
  end
  return table.concat(bytes)
end

-- Returns the key of a request, or nil.
local function key_of(headers)
  local authorization = headers:get("authorization")
  local key
  if not authorization then
    key = headers:get("x-api-key")
  else
    local scheme, credential = authorization:match("^(%a+) +(%S+) *$")
    scheme = scheme and scheme:lower()
    if scheme == "bearer" then
      key = credential
    elseif scheme == "basic" then
      key = from_base64(credential):match("^[^:]*:(.*)$")
    end
  end
  if key and key:sub(1, #PREFIX) == PREFIX then
    return key
  end
  return nil
end

-- Returns a message as gRPC frames it: no flags, four bytes of length, the message.
local function framed(message)
  return "\0\0\0\0" .. string.char(#message) .. message
end

-- Returns the first field of a framed ExchangeApiKeyResponse, which is the token.
local function token_in(body)
  if not body or #body < 7 or body:byte(1) ~= 0 or body:byte(6) ~= 10 then
    return nil
  end
  local length, factor, at = 0, 1, 7
  repeat
    local byte = body:byte(at)
    if not byte then
      return nil
    end
    length, factor, at = length + byte % 128 * factor, factor * 128, at + 1
  until byte < 128
  return body:sub(at, at + length - 1)
end

-- Returns a token for a key, or nil and why there is none.
local function exchanged(handle, key)
  if #key > MAX_KEY_BYTES then
    return nil, INVALID
  end
  local headers = handle:headers()
  local answer, body = handle:httpCall("user", {
    [":method"] = "POST",
    [":path"] = EXCHANGE,
    [":authority"] = "user",
    ["content-type"] = "application/grpc",
    ["te"] = "trailers",
    ["grpc-timeout"] = TIMEOUT_MS .. "m",
    -- Exchanges are limited by the caller's network, not by the edge's.
    ["x-edge-secret"] = headers:get("x-edge-secret"),
    ["x-envoy-external-address"] = headers:get("x-envoy-external-address"),
    ["x-request-id"] = headers:get("x-request-id"),
  }, framed("\10" .. string.char(#key) .. key), TIMEOUT_MS)
  local token = answer[":status"] == "200" and token_in(body)
  if token then
    return token
  end
  return nil, REASONS[answer["grpc-status"]] or AWAY
end

local function token_of(handle, key)
  local now = os.time()
  local known = kept[key]
  if known and now < known.ends then
    return known.token
  end
  local token, why = exchanged(handle, key)
  if not token then
    return nil, why
  end
  if kept_count >= MAX_KEPT then
    kept, kept_count = {}, 0
  end
  if not kept[key] then
    kept_count = kept_count + 1
  end
  kept[key] = {token = token, ends = now + KEPT_SECONDS}
  return token
end

local function is_compat(path)
  path = path:match("^[^?]*")
  for _, match in ipairs(COMPAT) do
    if path == match.path or (match.prefix and path:sub(1, #match.prefix) == match.prefix) then
      return true
    end
  end
  return false
end

function envoy_on_request(handle)
  local key = key_of(handle:headers())
  if not key then
    return
  end
  if is_compat(handle:headers():get(":path")) then
    handle:headers():remove("x-api-key")
    handle:headers():replace("authorization", "Bearer " .. key)
    return
  end
  local token, why = token_of(handle, key)
  -- Asked for anew: Envoy takes back what it handed out before a call.
  local headers = handle:headers()
  headers:remove("x-api-key")
  headers:remove("authorization")
  if token then
    headers:add("authorization", "Bearer " .. token)
  else
    headers:add(REFUSAL_HEADER, why)
  end
end
