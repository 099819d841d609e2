"""scripts/bench shards: what a further shard brings, and what it costs that a request is for another core.

Two loads at each number of shards, each on a new directory. Plain: the requests of a pipeline are for all shards. Tagged: all keys
of a client have its hash tag, so that each of its pipelines is for one shard, mostly not that of the core which has the connection.
The same keys, values and number of requests otherwise.

The cost of a hop: a plain pipeline of P requests on N shards goes to (N-1)(1 - (1-1/N)^P) other cores on average, a tagged one to
(N-1)/N. What plain costs more, for each of the further hops, is what a hop costs, beside what a longer batch saves.
"""

import os
import statistics

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "CPU per operation by number of shards, under plain and hash-tagged load, and what a hop to another core costs"
NEEDS = ("load",)


def cores():
    return len(os.sched_getaffinity(0))


OPTIONS = [
    options.RUNS,
    options.Option("--shards-list", options.whole_list, list(range(1, cores() + 1)), list(range(1, cores() + 1)), "numbers of shards"),
    options.KEYS,
    options.VALUE_BYTES,
    options.CLIENTS,
    options.THREADS,
    options.DEPTH,
    options.SYNC,
    options.Option("--seconds", options.positive, 10, 2, "of each measurement"),
]
LOADS = (("plain", []), ("tagged", ["--tagged"]))
TESTS = ("set", "get")
HEAD = "%-6s %-7s %-4s %10s %9s  %8s %9s %9s %8s %8s %9s  %s"


def hops(shards, depth):
    """Other cores that a pipeline goes to: (plain, tagged)."""
    others = shards - 1
    return others * (1 - (1 - 1 / shards) ** depth), others / shards


def measure(args, shards, more):
    """A new server through one load: {test: figures}."""
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, ["--shards", str(shards)] + args.server_args.split())
        common = ["--keys", args.keys, "--value-bytes", args.value_bytes, "--clients", args.clients, "--threads", args.threads]
        common += ["--pipeline", args.depth] + more
        found = {}
        try:
            server.start()
            load.run(args, server, ["--workload", "load"] + common)
            busiest = busiest_share(server)
            for test in TESTS:
                words = ["--workload", test, "--distribution", "uniform", "--warmup", args.seconds / 5, "--duration", args.seconds]
                found[test] = dict(load.figures(load.run(args, server, words + common)), busiest=busiest)
        finally:
            server.stop()
    return found


def busiest_share(server):
    """Keys of the fullest shard to what it would have if all had the same: tags do not spread as evenly as keys."""
    keys = []
    while (said := server.info("shard%d" % len(keys))) is not None:
        keys.append(int(dict(part.split("=", 1) for part in said.split(","))["keys"]))
    return max(keys) * len(keys) / max(1, sum(keys)) if keys else 1.0


def check(args):
    if "--shards" in args.server_args:
        raise CannotMeasure("--shards-list says how many shards there are: take --shards out of --server-args")
    if args.shards_list[-1] > cores():
        raise CannotMeasure("--shards-list: %d shards, and %d cores: each has one of its own" % (args.shards_list[-1], cores()))


def run(args, results):
    print("\n%d clients, P=%d, %d-byte values, %d keys, %s, median of %d runs" % (
        args.clients, args.depth, args.value_bytes, args.keys, args.sync, args.runs))
    kinds = [(shards, name, more) for shards in args.shards_list for name, more in LOADS]
    runs = {kind[:2]: [] for kind in kinds}
    for turn in range(args.runs):
        for shards, name, more in kinds if turn % 2 == 0 else kinds[::-1]:
            runs[shards, name].append(measure(args, shards, more))
    print(HEAD % ("shards", "load", "test", "req/s", "of first", "CPU us", "of first", "client us", "p50 ms", "p99 ms", "p99.9 ms", "fullest shard"))
    rows = {}
    for test in TESTS:
        for kind, of in runs.items():
            rows[kind + (test,)] = {field: statistics.median(run[test][field] for run in of) for field in of[0][test]}
            show(kind + (test,), rows, args.shards_list[0])
    results.figures.update({"%d shards %s %s" % kind: row for kind, row in rows.items()})
    print()
    judge(args, rows, results)


def show(kind, rows, first):
    row, base = rows[kind], rows[(first,) + kind[1:]]
    cells = kind + ("%.0f" % row["rate"], "%.2fx" % (row["rate"] / base["rate"]), "%.2f" % row["cpu_us"])
    cells += ("%.2fx" % (row["cpu_us"] / base["cpu_us"]) if base["cpu_us"] else "-", "%.2f" % row["client_us"])
    cells += tuple("%.3f" % row[field] for field in ("p50", "p99", "p999")) + ("%.2f" % row["busiest"],)
    print(HEAD % cells, flush=True)


def judge(args, rows, results):
    """No bars: rows of the table, and the cost of a hop where there are others to hop to."""
    first = args.shards_list[0]
    for (shards, name, test), row in rows.items():
        what = "%d shard%s, %s %s" % (shards, "" if shards == 1 else "s", name, test.upper())
        base = rows[first, name, test] if shards != first else None
        who = "%d shard%s" % (first, "" if first == 1 else "s")
        results.limit(what, "/s", row["rate"], beside=base and base["rate"], who=who)
        results.limit(what + ", CPU per operation", "us", row["cpu_us"], beside=base and base["cpu_us"], who=who)
    for shards in args.shards_list:
        plain_hops, tagged_hops = hops(shards, args.depth)
        for test in TESTS if shards > 1 else ():
            more = rows[shards, "plain", test]["cpu_us"] - rows[shards, "tagged", test]["cpu_us"]
            what = "%d shards, %s, CPU that plain takes more than tagged" % (shards, test.upper())
            results.limit(what + ", per operation", "us", more)
            # At P=1 both go to as many.
            if plain_hops - tagged_hops > 0.01:
                results.limit(what + ", per hop", "us", more * args.depth / (plain_hops - tagged_hops))
