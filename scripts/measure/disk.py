"""scripts/bench disk: GETs of data ten times the block cache, on one shard, beside fio's random reads of the same disk."""

import json
import os
import shutil
import statistics
import subprocess
import time

from . import load
from .machine import CannotMeasure
from .server import Home, Server

# Of the data to the block cache.
TIMES = 10
FIO_DEPTH = 32
# Bars: of fio's rate; of absent keys to present ones; block reads for an absent key.
GET_TO_FIO, MISS_TO_GET, READS_PER_MISS = 0.6, 5.0, 0.02
SETTLED_WITHIN_S = 600
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


def settle(server):
    """Everything in tables, and nothing left to merge."""
    if server.redis:
        return
    server.ask("FLUSHDB")
    began, quiet, last = time.monotonic(), 0, None
    while quiet < 3:
        if time.monotonic() - began > SETTLED_WITHIN_S:
            raise CannotMeasure("still merging after %d s" % SETTLED_WITHIN_S)
        time.sleep(1)
        now = (server.info("compactions"), server.info("flushed_bytes"), server.info("compaction_pending_bytes"))
        quiet = quiet + 1 if now == last and now[2] == "0" else 0
        last = now


def measure(server, args, keys, workload):
    words = ["--workload", workload, "--distribution", "uniform", "--keys", keys, "--value-bytes", args.disk_value, "--verify"]
    words += ["--clients", args.disk_clients, "--pipeline", args.disk_pipeline, "--warmup", args.seconds / 5, "--duration", args.seconds]
    before = server.io_bytes("read_bytes")
    found = load.run(args, server, words)
    row = load.figures(found)
    done = found["requests"] + found["warmup_requests"]
    row["reads"] = (server.io_bytes("read_bytes") - before) / BLOCK_BYTES / max(1, done)
    return row


def disk(args):
    load.build(args)
    data_bytes = TIMES * args.cache_mb << 20
    keys = data_bytes // (16 + args.disk_value)
    print("\n%d keys of 16 + %d bytes that do not compress: %.2f GB, block cache %d MB, one shard; %d clients, P=%d" % (
        keys, args.disk_value, data_bytes / 1e9, args.cache_mb, args.disk_clients, args.disk_pipeline))
    missed = []
    with Home(args) as home:
        extra = ["--shards", "1", "--memory", "%dMB" % (args.cache_mb + 192), "--block-cache-capacity", "%dMB" % args.cache_mb]
        server = Server(args.binary, "everysec", home, extra + args.server_args.split())
        try:
            server.start()
            words = ["--workload", "load", "--keys", keys, "--value-bytes", args.disk_value, "--compressible", "0", "--pipeline", 16]
            load.run(args, server, words)
            settle(server)
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
    row = {name: {field: statistics.median(run[field] for run in of) for field in of[0]} for name, of in rows.items()}

    def verdict(what, met):
        if not met:
            missed.append(what)
        return "met" if met else "MISSED"

    head = "%-22s %10s %8s %8s %8s %9s %9s %12s  %s"
    print(head % ("", "per s", "CPU us", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "4 KiB reads", "bar"))
    if "fio" in row:
        print(head % ("fio randread, depth %d" % FIO_DEPTH, "%.0f" % row["fio"]["rate"], "", "", "", "", "", "1.00", ""))
    for name in ("get", "miss"):
        one = row[name]
        if name == "miss":
            ratio = one["rate"] / row["get"]["rate"]
            bar = "%.1fx the GETs, >= %.0fx %s" % (ratio, MISS_TO_GET, verdict("rate of absent keys", ratio >= MISS_TO_GET))
            bar += "; reads <= %.2f %s" % (READS_PER_MISS, verdict("reads for absent keys", one["reads"] <= READS_PER_MISS))
        elif "fio" in row:
            ratio = one["rate"] / row["fio"]["rate"]
            bar = "%.2f of fio, >= %.2f %s" % (ratio, GET_TO_FIO, verdict("GET to fio", ratio >= GET_TO_FIO))
        else:
            bar = ""
        cells = tuple("%.3f" % one[field] for field in ("p50", "p99", "p999", "max"))
        print(head % (("GET, uniform" if name == "get" else "GET of absent keys", "%.0f" % one["rate"], "%.2f" % one["cpu_us"])
                      + cells + ("%.3f" % one["reads"], bar)), flush=True)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(rows, out, indent=1)
    if missed:
        print("missed: " + ", ".join(missed))
    return 1 if missed and not args.quick else 0
