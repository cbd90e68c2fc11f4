-- The requests of a list made by the driver, for wrk.
-- Arguments: the file of targets (one "METHOD target" a line), the kind of run, its number.
--   get N      GETs of targets drawn at random
--   range N    GETs of the first target, 64 KiB from a random byte of its N bytes
--   put N      each target once, with a body that begins with N and its place in the list;
--              nothing more is sent at the end of the list
local targets, kind, number, sent = {}, nil, nil, -1
local ready = {}

function init(arguments)
    for line in io.lines(arguments[1]) do
        targets[#targets + 1] = line
    end
    kind, number = arguments[2], tonumber(arguments[3])
    -- One thread makes all requests, so a fixed seed gives every system the same sequence.
    math.randomseed(tonumber(arguments[4]))
    if kind == "put" then
        local file = io.open(arguments[5], "rb")
        filler = file:read("*a")
        file:close()
    elseif kind == "get" then
        for i, target in ipairs(targets) do
            ready[i] = wrk.format("GET", target)
        end
    else
        for i = 1, 8192 do
            local from = math.floor(math.random() * (number - 65536))
            local field = string.format("bytes=%d-%d", from, from + 65535)
            ready[i] = wrk.format("GET", targets[1], { ["Range"] = field })
        end
    end
end

function request()
    sent = sent + 1
    if kind == "put" then
        -- wrk asks once before the run and throws the request away.
        if sent == 0 then
            return wrk.format("PUT", targets[1])
        end
        local target = targets[sent]
        if not target then
            wrk.thread:stop()
            target = targets[#targets]
            sent = #targets
        end
        local body = string.format("%016d", number + sent) .. string.sub(filler, 17)
        return wrk.format("PUT", target, nil, body)
    end
    return ready[math.random(#ready)]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        "RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
