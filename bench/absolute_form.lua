-- Makes wrk ask a proxy: the target becomes the whole URL (RFC 9112 section 3.2.2).
-- Arguments: the URL to ask for, and the origin's host and port.
init = function(args)
    wrk.path = args[1]
    wrk.headers["Host"] = args[2]
end

-- One line of figures on the error stream, which wrk itself does not write to: requests, bytes,
-- microseconds, errors, connections that ended unannounced, and the microseconds of the median
-- and the 99th percentile.
done = function(summary, latency, requests)
    local errors = summary.errors
    io.stderr:write(string.format("%d %d %d %d %d %d %d\n",
        summary.requests, summary.bytes, summary.duration,
        errors.connect + errors.write + errors.status + errors.timeout, errors.read,
        latency:percentile(50), latency:percentile(99)))
end
