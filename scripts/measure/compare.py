"""scripts/bench compare: both servers in turn, the same redis-benchmark loads: rates, CPU, latencies, memory, bytes written."""

import csv
import io
import os
import resource
import statistics
import subprocess
from typing import NamedTuple, Optional

from . import options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "beside redis-server, by redis-benchmark: rates, ratio, CPU, latencies, RSS, bytes written"
NEEDS = ("redis",)
OPTIONS = [
    options.RUNS,
    options.Option("--only", str, "", "", "this load, or those whose name contains it"),
    options.CLIENTS,
    options.KEYS._replace(quick=1_000_000, help="keys that requests are drawn from"),
    options.VALUE_BYTES,
    options.Option("--scale", options.positive, 1.0, 0.1, "times the requests of every load"),
]
SWITCHES = [("--both-shards", "ours with one shard and with one per core, in the same alternation: ours/1 and ours/N")]


class Test(NamedTuple):
    name: str
    requests: int
    # Bars: smallest ratio of the rate to that of Redis, largest of the server's CPU; None: shown only.
    rate: Optional[float] = None
    cpu: Optional[float] = None
    # Smallest ratio of the rate to our own without any syncing, which then runs as well.
    own_no: Optional[float] = None
    # Requests per second that must be reached whatever Redis does.
    floor: Optional[int] = None


class Load(NamedTuple):
    name: str
    sync: str
    depth: int
    tests: list
    # None: --clients.
    clients: Optional[int] = None


# A pass over a table warms caches: the GETs of the deep pipelines read each of a million keys about three times.
LOADS = [
    Load("everysec P=16", "everysec", 16, [Test("set", 1_000_000, 1.7, 0.6), Test("get", 3_000_000, 1.6, 0.6)]),
    Load("everysec P=64", "everysec", 64, [Test("set", 2_000_000), Test("get", 3_000_000)]),
    Load("everysec P=1", "everysec", 1, [Test("set", 1_000_000, 1.0, 1.05), Test("get", 1_000_000, 1.0, 1.05)]),
    Load("always P=16", "always", 16, [Test("set", 500_000, 1.8, own_no=0.6), Test("get", 3_000_000)]),
    Load("always P=1", "always", 1, [Test("set", 200_000, 1.2, floor=20_000), Test("get", 200_000, floor=41_000)]),
    Load("always 1 client", "always", 1, [Test("set", 20_000, 1.4)], clients=1),
]
# The p50 that a test with a `floor` must stay below.
FLOOR_P50_MS = 3.0
# redis-benchmark's keys: key:000000000012
KEY_BYTES = 16
HEAD = "%-15s %-4s %-7s %10s %8s  %8s %8s %9s %8s %8s %8s %9s %8s %8s %6s"
COLUMNS = ("load", "test", "server", "req/s", "ratio", "CPU us", "ratio", "client us", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
           "RSS MB", "written", "space")


class Contender(NamedTuple):
    """A server as it takes part."""

    label: str
    program: str
    sync: str
    extra: list
    tests: list


def redis_benchmark(server, test, count, depth, clients, keys, value_bytes):
    """One test: its figures from redis-benchmark, and the server's CPU."""
    words = ["redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(count), "-r", str(keys)]
    words += ["-d", str(value_bytes), "-c", str(clients), "-P", str(depth), "--csv"]
    before, client_before, written_before = server.cpu_seconds(), children_cpu_seconds(), server.io_bytes("write_bytes")
    done = subprocess.run(words, capture_output=True, text=True)
    cpu, client_cpu = server.cpu_seconds() - before, children_cpu_seconds() - client_before
    written = server.io_bytes("write_bytes") - written_before
    rows = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row.get("test")]
    if done.returncode != 0 or len(rows) != 1:
        raise CannotMeasure("%s\nended with code %d:\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr))
    row = rows[0]
    found = {
        "rate": float(row["rps"]),
        "p50": float(row["p50_latency_ms"]),
        "p99": float(row["p99_latency_ms"]),
        # Not every version says it.
        "p999": float(row.get("p99_9_latency_ms") or row.get("p999_latency_ms") or "nan"),
        "max": float(row["max_latency_ms"]),
        "cpu_us": cpu * 1e6 / count,
        "client_us": client_cpu * 1e6 / count,
    }
    if test == "set":
        found["written"] = written / (count * (KEY_BYTES + value_bytes))
    return found


def children_cpu_seconds():
    """CPU of all processes that this one has started and seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contenders(load, args):
    """Redis, ours once or by shards, and ours without syncing where that is a bar."""
    found = [Contender("redis", "redis-server", load.sync, [], load.tests)]
    kinds = [("", [])]
    if args.both_shards:
        cores = len(os.sched_getaffinity(0))
        kinds = [("/1", ["--shards", "1"]), ("/%d" % cores, ["--shards", str(cores)])]
    more = args.server_args.split()
    for suffix, extra in kinds:
        found.append(Contender("ours" + suffix, args.binary, load.sync, extra + more, load.tests))
    without = [test for test in load.tests if test.own_no is not None]
    if without:
        found += [Contender("no" + suffix, args.binary, "no", extra + more, without) for suffix, extra in kinds]
    return found


def measure(contender, load, args):
    """One server through one load, in a new directory: {test: figures}."""
    with Home(args) as home:
        server = Server(contender.program, contender.sync, home, contender.extra)
        try:
            server.start()
            figures = {}
            for test in contender.tests:
                count = max(1, int(test.requests * args.scale))
                clients = load.clients or args.clients
                figures[test.name] = redis_benchmark(server, test.name, count, load.depth, clients, args.keys, args.value_bytes)
            rss = server.memory_mb("VmHWM")
            # Asked once everything is measured: our DBSIZE reads all keys.
            live_bytes = int(server.ask("DBSIZE")) * (KEY_BYTES + args.value_bytes)
            for test in figures.values():
                test["rss"] = rss
                test["space"] = server.disk_mb() * 1e6 / max(1, live_bytes)
        finally:
            server.stop()
    return figures


def medians(runs):
    found = {field: statistics.median(run[field] for run in runs) for field in runs[0]}
    found["rates"] = [round(run["rate"]) for run in runs]
    return found


def show(load, test, label, row, redis):
    words = (load.name, test.name, label, "%.0f" % row["rate"])
    words += ("" if row is redis else "%.2fx" % (row["rate"] / redis["rate"]), "%.2f" % row["cpu_us"])
    words += ("" if row is redis or not redis["cpu_us"] else "%.2fx" % (row["cpu_us"] / redis["cpu_us"]), "%.2f" % row["client_us"])
    words += tuple("%.3f" % row[field] if row[field] == row[field] else "-" for field in ("p50", "p99", "p999", "max"))
    words += ("%.0f" % row["rss"], "%.2f" % row["written"] if "written" in row else "", "%.2f" % row["space"])
    print(HEAD % words, flush=True)


def judge(load, test, rows, results):
    """The rows of one test, against its bars."""
    redis = rows["redis"]
    for label, row in rows.items():
        if not label.startswith("ours"):
            continue
        what = "%s %s%s" % (load.name, test.name.upper(), "" if label == "ours" else ", " + label)
        results.ratio(what, "/s", row["rate"], redis["rate"], at_least=test.rate)
        results.ratio(what + ", CPU per operation", "us", row["cpu_us"], redis["cpu_us"], at_most=test.cpu)
        if test.own_no is not None:
            without = rows[label.replace("ours", "no")]
            results.ratio(what + " against our own no", "/s", row["rate"], without["rate"], at_least=test.own_no, who="our own no")
        if test.floor is not None:
            results.limit(what + ", rate", "/s", row["rate"], at_least=test.floor)
            results.limit(what + ", p50", "ms", row["p50"], below=FLOOR_P50_MS)


def chosen(only):
    """A name in full is that load alone: `always P=1` is no part of `always P=16`."""
    loads = [load for load in LOADS if load.name == only] or [load for load in LOADS if only in load.name]
    if not loads:
        raise CannotMeasure("no load named %r; there are: %s" % (only, ", ".join(load.name for load in LOADS)))
    return loads


def check(args):
    chosen(args.only)
    if args.both_shards and "--shards" in args.server_args:
        raise CannotMeasure("--both-shards sets the number of shards: take --shards out of --server-args")
    if args.both_shards and len(os.sched_getaffinity(0)) == 1:
        raise CannotMeasure("--both-shards: there is one core, and so nothing to compare")


def run(args, results):
    print("\n%d clients, %d-byte values, %d keys, median of %d runs" % (args.clients, args.value_bytes, args.keys, args.runs))
    for load in chosen(args.only):
        print("\n" + HEAD % COLUMNS, flush=True)
        all_of = contenders(load, args)
        runs = {contender.label: [] for contender in all_of}
        for turn in range(args.runs):
            at = turn % len(all_of)
            # Who goes first changes from run to run.
            for contender in all_of[at:] + all_of[:at]:
                runs[contender.label].append(measure(contender, load, args))
        for test in load.tests:
            of_test = {label: [run[test.name] for run in of if test.name in run] for label, of in runs.items()}
            rows = {label: medians(of) for label, of in of_test.items() if of}
            for label, row in rows.items():
                show(load, test, label, row, rows["redis"])
            results.narrow = ["--only", load.name]
            judge(load, test, rows, results)
            results.figures["%s %s" % (load.name, test.name)] = rows
