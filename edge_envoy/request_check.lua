-- Refuses what the JSON transcoder would let pass or answer poorly: a field that the contract doesn't have, which the
-- transcoder ignores, a verb that a path doesn't have, which it calls an unknown path, and a list of a million items, which
-- would cost everybody seconds. Runs right before it.
--
-- The table CONTRACT is rendered in front of this text from the contracts' descriptors (edge_envoy/request_check.py):
--
--   bindings  {verb, template, body, message}; `body` is "" without a body, "*" for the whole request, or its field
--   messages  name of a message -> {names, fields}; `names` as in the contract, `fields` by both JSON spellings:
--             "" for a value without fields of its own, ">M" for message M, "*>M" for a map whose values are of message M
--   aliases   what other tools call a field -> its names here
--   faults    what gRPC itself answers -> what the caller is told: {answered, words, status, message, details}
--
-- Malformed JSON passes: the transcoder refuses it with the place. Its parser is more tolerant than the standard, so the
-- scanner knows what it tolerates: single quotes, names without quotes, a comma before a brace, nested lists.

local MAX_DEPTH = 128      -- The transcoder refuses anything deeper than about half of this.
local MAX_ITEMS = 1000     -- No list of the contracts may be as long; the services refuse those that are shorter and too long.
local MAX_UNKNOWN = 20     -- As many unknown fields are named; the first few say what is wrong.
local MAX_NAME_BYTES = 64  -- Longer names are cut in the answer, and compared with nothing.

local find, sub, byte, gsub, lower = string.find, string.sub, string.byte, string.gsub, string.lower

local LEAF = {}  -- A value without fields that could be checked.

-- The fields of a message, each with what its value is: {fields}, {of} for a map, or LEAF. Messages may hold themselves.
local messages = {}

local function value_type(spec)
  if spec == "" then
    return LEAF
  end
  local map, name = string.match(spec, "^(%*?)>(.*)$")
  if map == "*" then
    return {of = messages[name]}
  end
  return messages[name]
end

for name in pairs(CONTRACT.messages) do
  messages[name] = {}
end
for name, message in pairs(CONTRACT.messages) do
  local fields = {}
  for key, spec in pairs(message.fields) do
    fields[key] = value_type(spec)
  end
  messages[name].fields, messages[name].names = fields, message.names
end

-- Paths -------------------------------------------------------------------------------------------------------------

local literal_paths, patterns = {}, {}

local function add_binding(binding)
  local forms
  if find(binding.template, "{", 1, true) then
    -- A hyphen and a dot mean something in Lua's patterns; a variable is one segment.
    local pattern = "^" .. gsub(gsub(binding.template, "[%-%.]", "%%%0"), "{[%w_]+}", "[^/]+") .. "$"
    for _, known in ipairs(patterns) do
      if known.pattern == pattern then
        forms = known.forms
      end
    end
    if not forms then
      forms = {}
      -- `/jobs/{id}:cancel` before `/jobs/{id}`, which it matches as well.
      table.insert(patterns, find(pattern, ":", 1, true) and 1 or #patterns + 1, {pattern = pattern, forms = forms})
    end
  else
    forms = literal_paths[binding.template] or {}
    literal_paths[binding.template] = forms
  end
  forms[binding.verb] = binding
end

for _, binding in ipairs(CONTRACT.bindings) do
  add_binding(binding)
end

-- Returns the forms of a path by verb, or nil. The transcoder takes no notice of slashes at the end either.
local function forms_of(path)
  path = gsub(gsub(path, "[?#].*$", ""), "/+$", "")
  local forms = literal_paths[path]
  if forms then
    return forms
  end
  for _, each in ipairs(patterns) do
    if find(path, each.pattern) then
      return each.forms
    end
  end
  return nil
end

-- Names -------------------------------------------------------------------------------------------------------------

local function plain(name)
  return (gsub(lower(name), "[_%-%s]", ""))
end

-- Returns how many letters must be added, removed, changed or swapped with their neighbour to turn one name into the other.
local function distance(a, b)
  local before, last, row = {}, {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    row = {[0] = i}
    for j = 1, #b do
      local differs = byte(a, i) == byte(b, j) and 0 or 1
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + differs)
      if i > 1 and j > 1 and byte(a, i) == byte(b, j - 1) and byte(a, i - 1) == byte(b, j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last = last, row
  end
  return last[#b]
end

-- Returns the field that was probably meant, or nil.
local function nearest(name, message)
  if #name > MAX_NAME_BYTES then
    return nil
  end
  local wanted = plain(name)
  for _, known in ipairs(CONTRACT.aliases[wanted] or {}) do
    if message.fields[known] then
      return known
    end
  end
  local best, best_distance = nil, math.max(1, math.floor(#wanted / 3)) + 1
  for _, known in ipairs(message.names) do
    local candidate = plain(known)
    -- `width` for `width_px`: the beginning of a name counts as one letter.
    local is_beginning = #wanted >= 3 and sub(known, 1, #name + 1) == lower(name) .. "_"
    local apart = is_beginning and math.min(1, distance(wanted, candidate)) or distance(wanted, candidate)
    if apart < best_distance then
      best, best_distance = known, apart
    end
  end
  return best
end

-- Text --------------------------------------------------------------------------------------------------------------

local ESCAPED = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function utf8(code)
  if code < 0x80 then
    return string.char(code)
  elseif code < 0x800 then
    return string.char(0xC0 + math.floor(code / 0x40), 0x80 + code % 0x40)
  end
  return string.char(0xE0 + math.floor(code / 0x1000), 0x80 + math.floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
end

-- Returns a name as the transcoder reads it; one half of a surrogate pair is in no field's name and stays as it is.
local function unescaped(name)
  if not find(name, "\\", 1, true) then
    return name
  end
  name = gsub(name, "\\(u?)(%x?%x?%x?%x?)", function(is_code, digits)
    if is_code == "u" and #digits == 4 then
      local code = tonumber(digits, 16)
      -- A backslash by its code must not begin another escape below.
      return (code == 0x5C or (code >= 0xD800 and code <= 0xDFFF)) and "?" or utf8(code)
    end
    return nil
  end)
  return (gsub(name, "\\(.)", function(letter) return ESCAPED[letter] or letter end))
end

local CONTINUATIONS = {{0xC2, 0xDF, 1}, {0xE0, 0xEF, 2}, {0xF0, 0xF4, 3}}

-- Returns one character of UTF-8 as it is, and anything else as question mark; also what no character may be.
local function character_or_mark(bytes)
  local first, second = byte(bytes, 1, 2)
  for _, range in ipairs(CONTINUATIONS) do
    if first >= range[1] and first <= range[2] and #bytes == range[3] + 1 then
      local is_wrong = first == 0xE0 and second < 0xA0 or first == 0xED and second > 0x9F
        or first == 0xF0 and second < 0x90 or first == 0xF4 and second > 0x8F
      return is_wrong and "?" or bytes
    end
  end
  return "?"
end

-- Returns a name as it may stand in a JSON string, for callers can send any bytes.
local function quotable(text)
  if text == "" then
    return '\\"\\"'
  elseif #text > MAX_NAME_BYTES then
    text = sub(text, 1, MAX_NAME_BYTES) .. "..."
  end
  text = gsub(text, '[%c"\\]', function(character) return string.format("\\u%04x", byte(character)) end)
  return (gsub(text, "[\128-\255][\128-\191]*", character_or_mark))
end

-- The scanner -------------------------------------------------------------------------------------------------------

-- Returns the place behind the string that begins at `at`, or nil when it doesn't end. Looks for quotes only, which costs
-- nothing even in a prompt of megabytes, and then whether an odd number of backslashes stands before.
local function string_end(text, at)
  local quote, place = sub(text, at, at), at
  while true do
    place = find(text, quote, place + 1, true)
    if not place then
      return nil
    end
    local before = place - 1
    while byte(text, before) == 92 do
      before = before - 1
    end
    if (place - before) % 2 == 1 then
      return place + 1
    end
  end
end

-- Returns the path of the innermost value that has begun, such as text_to_image.loras[0].
local function path_of(root, stack, depth)
  local path = root
  for i = 1, depth do
    local level = stack[i]
    if level.index then
      path = path .. "[" .. level.index .. "]"
    elseif level.key and i < depth then
      path = path .. (path == "" and "" or ".") .. quotable(level.key)
    end
  end
  return path
end

-- Reads JSON and returns the unknown fields in it: {path, name, message}. `root` is the path of the whole. Stops at a list that
-- is too long, and returns its path as well.
local function unknown_fields(text, message, root)
  local unknown, seen = {}, {}
  local stack, depth, at = {}, 0, 1
  local kind = message  -- Of the value that comes next.
  local wants_value = true

  while true do
    at = find(text, "[^ \t\n\v\f\r]", at)
    if not at then
      return depth == 0 and unknown or {}
    end
    local character = byte(text, at)
    if wants_value then
      wants_value = false
      if character == 123 or character == 91 then  -- { [
        if depth == MAX_DEPTH then
          return {}
        end
        depth = depth + 1
        stack[depth] = {kind = kind, index = character == 91 and 0 or nil, begins = true}
        at = at + 1
        wants_value = character == 91
      elseif character == 34 or character == 39 then
        at = string_end(text, at)
      elseif character == 93 and depth > 0 and stack[depth].index then  -- ]
        depth = depth - 1
        at = at + 1
      else
        local _, last = find(text, "^[%w%+%-%.]+", at)
        at = last and last + 1
      end
    elseif depth == 0 then
      return unknown
    else
      local level = stack[depth]
      local in_list = level.index ~= nil
      if character == 44 then  -- ,
        if level.begins and not in_list then
          return {}
        end
        at = at + 1
        if in_list then
          level.index, wants_value, kind = level.index + 1, true, level.kind
          if level.index == MAX_ITEMS then
            return unknown, (gsub(path_of(root, stack, depth), "%[%d+%]$", ""))
          end
        else
          level.begins = true
        end
      elseif character == (in_list and 93 or 125) then
        depth = depth - 1
        at = at + 1
      elseif in_list or not level.begins then
        return {}
      else
        local first, last, key = at, nil, nil
        if character == 34 or character == 39 then
          last = string_end(text, at)
          key = last and unescaped(sub(text, first + 1, last - 2))
        else
          _, last, key = find(text, "^([%a_$][%w_$]*)", at)
          last = last and last + 1
        end
        local _, colon = find(text, "^[ \t\n\v\f\r]*:", last or #text + 1)
        if not colon then
          return {}
        end
        at = colon + 1
        level.begins, level.key, wants_value = false, key, true
        local own = level.kind
        if own.of then
          kind = own.of
        elseif own == LEAF then
          kind = LEAF
        else
          kind = own.fields[key]
          if not kind then
            kind = LEAF
            local place = path_of(root, stack, depth)
            place = place .. (place == "" and "" or ".") .. quotable(key)
            if not seen[place] then
              seen[place] = true
              unknown[#unknown + 1] = {path = place, name = key, message = own}
              if #unknown == MAX_UNKNOWN then
                return unknown
              end
            end
          end
        end
      end
    end
    if not at then
      return {}
    end
  end
end

-- Answers -----------------------------------------------------------------------------------------------------------

local function refuse(handle, status, code, message, reason, metadata, details, headers)
  headers[":status"], headers["content-type"] = status, "application/json"
  handle:respond(headers, '{"code":' .. code .. ',"message":"' .. message
    .. '","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"' .. reason
    .. '","domain":"' .. CONTRACT.domain .. '","metadata":{' .. metadata .. "}}" .. details .. "]}")
end

local function refuse_unknown(handle, unknown)
  local summaries, violations = {}, {}
  for _, each in ipairs(unknown) do
    local meant = nearest(each.name, each.message)
    local advice = meant and "did you mean `" .. meant .. "`?"
      or #each.message.names == 0 and "there are no fields here"
      or "the fields here are " .. table.concat(each.message.names, ", ")
    summaries[#summaries + 1] = each.path .. " (" .. advice .. ")"
    violations[#violations + 1] = '{"field":"' .. each.path .. '","description":"unknown field; ' .. advice .. '"}'
  end
  refuse(handle, "400", 3, "The request can't be read: unknown fields " .. table.concat(summaries, "; "),
    "REQUEST_MALFORMED", "",
    ',{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":['
      .. table.concat(violations, ",") .. "]}", {})
end

local function refuse_long(handle, path)
  local rule = "must have fewer than " .. MAX_ITEMS .. " items"
  refuse(handle, "400", 3, "The request breaks its contract. " .. path .. ": " .. rule .. ".", "INVALID_FIELD", "",
    ',{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"' .. path
      .. '","description":"' .. rule .. '"}]}', {})
end

local function refuse_verb(handle, forms)
  local verbs = {}
  for verb in pairs(forms) do
    verbs[#verbs + 1] = verb
  end
  table.sort(verbs)
  local allowed = table.concat(verbs, ", ")
  refuse(handle, "405", 12, "This path doesn't have the HTTP verb. It has " .. allowed .. ".",
    "METHOD_NOT_FOUND", '"allow":"' .. allowed .. '"', "", {allow = allowed})
end

-- Refuses what isn't exactly one message in one frame (a byte of flags, four of length). Without a message gRPC waits until
-- the deadline; of several it takes the first; a frame that is cut or too long it answers without an ErrorInfo.
local function check_frame(handle)
  local body = handle:body()
  local size = body and body:length() or 0
  if size >= 5 then
    local flags, a, b, c, d = byte(body:getBytes(0, 5), 1, 5)
    if flags <= 1 and ((a * 256 + b) * 256 + c) * 256 + d + 5 == size then
      return
    end
  end
  -- The words are in Envoy's table of replies (edge_envoy/replies.py).
  handle:respond({[":status"] = "400"}, "")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local content_type = headers:get("content-type")
  if content_type and find(content_type, "^application/grpc") then
    check_frame(handle)
    return
  end
  local forms = forms_of(headers:get(":path"))
  if not forms then
    return
  end
  local binding = forms[headers:get(":method")]
  if not binding then
    refuse_verb(handle, forms)
    return
  end
  if binding.body == "" then
    return
  end
  local body = handle:body()
  if not body or body:length() == 0 then
    return
  end
  local root = binding.body == "*" and "" or binding.body
  local unknown, long = unknown_fields(body:getBytes(0, body:length()), messages[binding.message], root)
  if #unknown > 0 then
    refuse_unknown(handle, unknown)
  elseif long then
    refuse_long(handle, long)
  end
end

-- Gives an answer of gRPC's own library an ErrorInfo and words for the caller; those of the services have both.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  if not status or status == "0" or headers:get("grpc-status-details-bin") then
    return
  end
  local message = headers:get("grpc-message") or ""
  for _, fault in ipairs(CONTRACT.faults) do
    if fault.answered == status and find(message, fault.words, 1, true) then
      headers:replace("grpc-status", fault.status)
      headers:replace("grpc-message", fault.message)
      headers:replace("grpc-status-details-bin", fault.details)
      return
    end
  end
end
