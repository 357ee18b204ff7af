-- What wrk sends: GETs of random targets of a file, a line each ("path" or "path<TAB>If-None-Match"), or POSTs of new
-- products. In the end it prints one line of JSON.
--   wrk -s load.lua URL -- get FILE
--   wrk -s load.lua URL -- post TOKEN PREFIX CREATED
-- CREATED is where the ids of the products that were answered with 201 go, a line each.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(arguments)
  local mode = arguments[1]
  if mode == "post" then
    local headers = { ["Authorization"] = "Bearer " .. arguments[2], ["Content-Type"] = "application/json" }
    local count = 0
    local created = io.open(arguments[4], "w")
    created:setvbuf("line")
    response = function(status, _, body)
      if status == 201 then
        created:write(body:match('"id":%s*"([^"]+)"'), "\n")
      end
    end
    request = function()
      count = count + 1
      local name = arguments[3] .. " " .. number .. " " .. count
      return wrk.format("POST", "/products", headers, '{"name": "' .. name .. '", "description": "A product."}')
    end
    return
  end
  math.randomseed(os.time() + number)
  local requests = {}
  for line in io.lines(arguments[2]) do
    local path, tag = line:match("([^\t]*)\t?(.*)")
    local headers = tag ~= "" and { ["If-None-Match"] = tag } or {}
    table.insert(requests, wrk.format("GET", path, headers))
  end
  request = function()
    return requests[math.random(#requests)]
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
