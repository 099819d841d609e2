"""scripts/bench disk: GETs of data ten times the block cache, on one shard, beside fio's random reads of the same disk."""

import json
import os
import shutil
import statistics
import subprocess

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "GETs of data ten times the block cache, present and absent keys, beside fio's random reads"
NEEDS = ("load",)
OPTIONS = [
    options.RUNS,
    options.Option("--cache-mb", options.whole, 64, 16, "the block cache, of which the data are ten times"),
    options.Option("--disk-value", options.whole, 400, 400, "bytes of a value, 16 at least"),
    options.Option("--disk-clients", options.whole, 32, 32, "connections in all"),
    options.Option("--disk-pipeline", options.whole, 4, 4, "requests that a client sends together"),
    options.Option("--seconds", options.positive, 10, 3, "of each measurement"),
]
# Of the data to the block cache.
TIMES = 10
FIO_DEPTH = 32
# Bars: of fio's rate; of absent keys to present ones; block reads for an absent key.
GET_TO_FIO, MISS_TO_GET, READS_PER_MISS = 0.6, 5.0, 0.02
BLOCK_BYTES = 4096


def fio(home, size, seconds):
    """4 KiB random reads a second, direct, at depth 32; None where fio is not installed."""
    if shutil.which("fio") is None:
        return None
    name = os.path.join(home, "fio")
    words = ["fio", "--name=reads", "--filename=" + name, "--rw=randread", "--bs=4k", "--direct=1", "--ioengine=io_uring"]
    words += ["--iodepth=%d" % FIO_DEPTH, "--size=%d" % size, "--runtime=%g" % seconds, "--time_based", "--output-format=json"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotMeasure("%s\nended with code %d:\n%s" % (" ".join(words), done.returncode, done.stderr))
    # fio may say something before its JSON.
    return json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]["read"]["iops"]


def measure(server, args, keys, workload):
    words = ["--workload", workload, "--distribution", "uniform", "--keys", keys, "--value-bytes", args.disk_value, "--verify"]
    words += ["--clients", args.disk_clients, "--pipeline", args.disk_pipeline, "--warmup", args.seconds / 5, "--duration", args.seconds]
    before = server.io_bytes("read_bytes")
    found = load.run(args, server, words)
    row = load.figures(found)
    done = found["requests"] + found["warmup_requests"]
    row["reads"] = (server.io_bytes("read_bytes") - before) / BLOCK_BYTES / max(1, done)
    return row


def run(args, results):
    data_bytes = TIMES * args.cache_mb << 20
    keys = data_bytes // (16 + args.disk_value)
    print("\n%d keys of 16 + %d bytes that do not compress: %.2f GB, block cache %d MB, one shard; %d clients, P=%d" % (
        keys, args.disk_value, data_bytes / 1e9, args.cache_mb, args.disk_clients, args.disk_pipeline))
    with Home(args) as home:
        extra = ["--shards", "1", "--memory", "%dMB" % (args.cache_mb + 192), "--block-cache-capacity", "%dMB" % args.cache_mb]
        server = Server(args.binary, "everysec", home, extra + args.server_args.split())
        try:
            server.start()
            words = ["--workload", "load", "--keys", keys, "--value-bytes", args.disk_value, "--compressible", "0", "--pipeline", 16]
            load.run(args, server, words)
            server.settle()
            rows = {"fio": [], "get": [], "miss": []}
            for _ in range(args.runs):
                rows["fio"].append({"rate": fio(home, data_bytes, args.seconds)})
                for workload in ("get", "miss"):
                    rows[workload].append(measure(server, args, keys, workload))
        finally:
            server.stop()
    if rows["fio"][0]["rate"] is None:
        print("fio is not installed (Debian: apt-get install fio): SKIPPED, no ratio to it")
        rows.pop("fio")
    results.figures.update(rows)
    row = {name: {field: statistics.median(run[field] for run in of) for field in of[0]} for name, of in rows.items()}
    head = "%-22s %10s %8s %8s %8s %9s %9s %12s"
    print(head % ("", "per s", "CPU us", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "4 KiB reads"))
    if "fio" in row:
        print(head % ("fio randread, depth %d" % FIO_DEPTH, "%.0f" % row["fio"]["rate"], "", "", "", "", "", "1.00"))
    for name, what in (("get", "GET, uniform"), ("miss", "GET of absent keys")):
        one = row[name]
        cells = ("%.0f" % one["rate"], "%.2f" % one["cpu_us"]) + tuple("%.3f" % one[field] for field in ("p50", "p99", "p999", "max"))
        print(head % ((what,) + cells + ("%.3f" % one["reads"],)))
    if "fio" in row:
        results.ratio("disk GET", "/s", row["get"]["rate"], row["fio"]["rate"], at_least=GET_TO_FIO, who="fio")
    results.ratio("disk GET of absent keys", "/s", row["miss"]["rate"], row["get"]["rate"], at_least=MISS_TO_GET, who="present keys")
    results.limit("block reads for an absent key", "", row["miss"]["reads"], at_most=READS_PER_MISS)
