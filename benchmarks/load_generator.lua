-- Requests the paths of a file in turn: wrk -s load_generator.lua URL -- FILE. Its last line of output is JSON.

function init(arguments)
   local requests = {}
   for path in io.lines(arguments[1]) do
      requests[#requests + 1] = wrk.format("GET", path)
   end
   local last = 0
   function request()
      last = last % #requests + 1
      return requests[last]
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout
   ))
end
