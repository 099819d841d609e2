"""Behind scripts/bench (a file a mode) and scripts/latency-report: the machine, servers, loads, results."""
