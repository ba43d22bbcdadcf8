-- Arguments after `--`: method, body bytes. Prints the summary as one JSON line behind RESULT.
function init(args)
  wrk.method = args[1]
  if tonumber(args[2]) > 0 then
    wrk.body = string.rep("x", tonumber(args[2]))
  end
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"replies":%d,"durationMs":%.3f,"badStatus":%d,"lost":%d}\n',
    summary.requests, summary.duration / 1000, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
