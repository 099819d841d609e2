"""scripts/bench ycsb: YCSB A-F on strings, closed loop, this server and redis-server in turn."""

import statistics

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "YCSB A-F on strings, uniform and zipfian keys, both servers in turn, by our own load generator"
NEEDS = ("redis", "load")
OPTIONS = [
    options.RUNS,
    options.Option("--only", str, "", "", "these workloads: letters of a to f"),
    options.CLIENTS,
    options.KEYS,
    options.VALUE_BYTES,
    options.THREADS,
    options.DEPTH,
    options.SYNC,
    options.Option("--scale", options.positive, 1.0, 0.1, "times the requests of every workload"),
]
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
        server = Server(program, args.sync, home, args.server_args.split())
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


def check(args):
    unknown = set(args.only) - {workload for workload, _, _ in WORKLOADS}
    if unknown:
        raise CannotMeasure("--only %s: there is no workload %s" % (args.only, ", ".join(sorted(unknown))))


def run(args, results):
    print("\n%d clients, P=%d, %s-byte values, %d keys, %s, median of %d runs" % (
        args.clients, args.depth, args.value_bytes, args.keys, args.sync, args.runs))
    runs = {"redis": [], "ours": []}
    for turn in range(args.runs):
        for who in ["redis", "ours"] if turn % 2 == 0 else ["ours", "redis"]:
            runs[who].append(measure("redis-server" if who == "redis" else args.binary, args))
    print(HEAD % ("load", "keys", "server", "req/s", "ratio", "CPU us", "client us", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "RSS MB"))
    rows = {}
    for name in runs["ours"][0]:
        of = {who: [run[name] for run in runs[who]] for who in runs}
        rows[name] = {who: {field: statistics.median(run[field] for run in of[who]) for field in of[who][0]} for who in of}
        ratio = rows[name]["ours"]["rate"] / rows[name]["redis"]["rate"]
        for who, row in rows[name].items():
            words = (name[0].upper(), name[1], who, "%.0f" % row["rate"], "%.2fx" % ratio if who == "ours" else "")
            words += ("%.2f" % row["cpu_us"], "%.2f" % row["client_us"])
            words += tuple("%.3f" % row[field] for field in ("p50", "p99", "p999", "max")) + ("%.0f" % row["rss"],)
            print(HEAD % words, flush=True)
            row["rates"] = [round(run["rate"]) for run in of[who]]
    print()
    for (workload, distribution), row in rows.items():
        what = "YCSB %s, %s" % (workload.upper(), distribution)
        results.ratio(what, "/s", row["ours"]["rate"], row["redis"]["rate"])
        results.figures["%s %s" % (workload, distribution)] = row
