-- Have wrk say what it has measured as JSON; times are seconds.
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "p50": %.6f, "p99": %.6f, "longest": %.6f, '
      .. '"failures": {"refused": %d, "cut": %d, "status": %d, "late": %d}}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e6,
      latency:percentile(99) / 1e6, latency.max / 1e6, e.connect, e.read + e.write, e.status, e.timeout))
end
