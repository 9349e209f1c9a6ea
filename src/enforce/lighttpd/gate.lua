local r = lighty.r

-- What stands in a flag; nil where there is none.
local function flag(path)
  local file = io.open(folder .. path, "r")
  if not file then return nil end
  local content = file:read("*l")
  file:close()
  return content or ""
end

-- As 32 hexadecimal digits, IPv4 addresses mapped; nil for anything else.
local function digits(address)
  local head, a, b, c, d = address:match("^(.-)(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then
    if head == "" then head = "::ffff:" end
    address = head .. string.format("%x:%x", tonumber(a) * 256 + tonumber(b), tonumber(c) * 256 + tonumber(d))
  end
  local front, back = address:match("^(.-)::(.*)$")
  local function groups(text)
    local found = {}
    for group in (text or ""):gmatch("%x+") do
      found[#found + 1] = string.format("%04x", tonumber(group, 16))
    end
    return found
  end
  local before, after = groups(front or address), groups(back)
  local missing = 8 - #before - #after
  if missing < 0 or (not front and missing ~= 0) then return nil end
  return table.concat(before) .. string.rep("0000", missing) .. table.concat(after)
end

-- The class of a client: that of the last range that begins at or before its address.
local function class_of(address)
  if #ranges == 0 then return nil end
  local wanted = digits(address or "")
  if not wanted then return nil end
  local low, high = 0, #ranges
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    if ranges[middle][1] <= wanted then low = middle else high = middle - 1 end
  end
  return low > 0 and ranges[low][2] or nil
end

-- The name that was asked for, without port, final dot and brackets.
local host = string.lower(r.req_attr["uri.authority"] or "")
local inner = host:match("^%[([%x:.]+)%]:?%d*$")
host = inner or host:gsub(":%d*$", ""):gsub("%.$", "")
if #host > 253 or not (inner or host:match("^[a-z0-9_][a-z0-9._-]*$")) then host = nil end

-- Only where mod_auth has found the password to be right.
local user = r.req_env["REMOTE_USER"]
if user and (#user > 64 or not user:match("^[A-Za-z0-9_@][A-Za-z0-9._@-]*$")) then user = nil end

local class = host and class_of(r.req_attr["request.remote-addr"])
local slow

for _, consequence in ipairs(consequences) do
  local what, status = consequence[1], consequence[2]
  local found = host and flag(what .. "/" .. host)
    or class and flag("class-" .. what .. "/" .. class .. "/" .. host)
    or user and flag("user-" .. what .. "/" .. user)
    or user and host and flag("at-" .. what .. "/" .. host .. "/" .. user)
  if found and status == 302 then
    if found:match("^https?://[!-~]+$") then
      r.resp_header["Location"] = found
      r.resp_header["Cache-Control"] = "no-store"
      return 302
    end
  elseif found and status > 0 then
    r.resp_header["Retry-After"] = retry_after
    r.resp_header["Cache-Control"] = "no-store"
    -- Without a body lighttpd puts a page of its own there, and takes the headers away.
    r.resp_header["Content-Type"] = "text/plain"
    r.resp_body:set("This site, or your account, has used up what it may transfer for now.\n")
    return status
  elseif found then
    slow = what
    break
  end
end

-- The config knows the speed by this header; what a client says there does not count.
if r.req_header["X-Tollkeeper"] ~= slow then
  r.req_header["X-Tollkeeper"] = slow
  return lighty.RESTART_REQUEST
end
