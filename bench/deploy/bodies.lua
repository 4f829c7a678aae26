-- wrk asks the same one row, at most some hundred times a second: the deployment is measured and not the processor.

function init()
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = '{"rows":[{"distance":3,"carrier":"AA"}]}'
end

function delay()
   return 10
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format('{"requests": %d, "refused": %d, "broken": %d}\n',
      summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end
