"""scripts/bench ycsb: YCSB A-F on strings, closed loop, this server and redis-server in turn."""

import json
import statistics

from . import load
from .server import Home, Server

# Workload, distributions, share of the requests: an MGET of E has 50 keys. D and E insert, so they come last.
WORKLOADS = [
    ("a", ["uniform", "zipfian"], 1.0),
    ("b", ["uniform", "zipfian"], 1.0),
    ("c", ["uniform", "zipfian"], 1.0),
    ("f", ["uniform", "zipfian"], 1.0),
    ("d", ["uniform", "latest"], 1.0),
    ("e", ["uniform", "zipfian"], 0.05),
]
HEAD = "%-5s %-10s %-6s %10s %7s  %10s %10s %8s %8s %9s %9s %8s"


def measure(program, args):
    """One server, loaded, through all workloads: {(workload, distribution): figures}."""
    found = {}
    with Home(args) as home:
        server = Server(program, args.ycsb_sync, home, args.server_args.split())
        try:
            server.start()
            common = ["--keys", args.keys, "--value-bytes", args.value_bytes, "--clients", args.clients]
            common += ["--threads", args.threads, "--pipeline", args.depth]
            load.run(args, server, ["--workload", "load"] + common)
            for workload, distributions, share in WORKLOADS:
                if args.only and workload not in args.only:
                    continue
                for distribution in distributions:
                    count = max(args.clients, int(1_000_000 * share * args.scale))
                    words = ["--workload", workload, "--distribution", distribution, "--requests", count, "--verify"]
                    row = load.figures(load.run(args, server, words + common))
                    row["rss"] = server.memory_mb("VmHWM")
                    found[workload, distribution] = row
        finally:
            server.stop()
    return found


def ycsb(args):
    load.build(args)
    print("\n%d clients, P=%d, %s-byte values, %d keys, %s, median of %d runs" % (
        args.clients, args.depth, args.value_bytes, args.keys, args.ycsb_sync, args.runs))
    runs = {"redis": [], "ours": []}
    for run in range(args.runs):
        for who in ["redis", "ours"] if run % 2 == 0 else ["ours", "redis"]:
            runs[who].append(measure("redis-server" if who == "redis" else args.binary, args))
    print(HEAD % ("load", "keys", "server", "req/s", "ratio", "CPU us", "client us", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "RSS MB"))
    result = {}
    for name in runs["ours"][0]:
        of = {who: [run[name] for run in runs[who]] for who in runs}
        rows = {who: {field: statistics.median(run[field] for run in of[who]) for field in of[who][0]} for who in of}
        ratio = rows["ours"]["rate"] / rows["redis"]["rate"]
        for who in ("redis", "ours"):
            row = rows[who]
            words = (name[0].upper(), name[1], who, "%.0f" % row["rate"], "%.2fx" % ratio if who == "ours" else "")
            words += ("%.2f" % row["cpu_us"], "%.2f" % row["client_us"])
            words += tuple("%.3f" % row[field] for field in ("p50", "p99", "p999", "max")) + ("%.0f" % row["rss"],)
            print(HEAD % words, flush=True)
            row["rates"] = [round(run["rate"]) for run in of[who]]
        result["%s %s" % name] = dict(rows, ratio=ratio)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(result, out, indent=1)
    return 0
