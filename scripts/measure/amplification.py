"""scripts/bench amplification: bytes written for each byte of uniform overwrites, and the space that is left behind.

1. `--data-mb` of keys that do not compress are loaded; the server settles: all in tables, nothing left to merge.
2. Keys drawn uniformly are overwritten, until `--overwrite-mb` of keys and values were sent; the server settles again, so that
   no merge that these writes cost is left out.
3. What was written in 2, by the server's own counters and by the kernel's, for each byte of those SETs. The kernel's
   count also has what a segment of the log is filled with in advance.
"""

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "uniform overwrite of 2 GB in 64 MB of memtables, leveled: bytes written for each byte, space at rest"
NEEDS = ("load",)
OPTIONS = [
    options.Option("--data-mb", options.whole, 2048, 96, "keys and values that are alive"),
    options.Option("--overwrite-mb", options.whole, 2048, 192, "keys and values that are overwritten"),
    options.Option("--memtable-mb", options.whole, 64, 4, "--memtable-size: all shards together"),
    options.Option("--shards", options.whole, 1, 1, "LSM trees: one has the memtable to itself"),
    options.VALUE_BYTES,
    options.CLIENTS,
    options.THREADS,
    options.DEPTH,
    options.SYNC,
]
KEY_BYTES = 16
# Table bytes written to bytes that came to be flushed; the directory without its log to what is alive.
TABLES_WRITTEN, SPACE = 12, 1.2
COUNTERS = ("flushed_bytes", "compacted_bytes", "wal_written_bytes")


def counters(server):
    return dict({field: server.counter(field) for field in COUNTERS}, process=server.io_bytes("write_bytes"))


def check(args):
    entry = KEY_BYTES + args.value_bytes
    if (args.data_mb << 20) // entry < args.clients:
        raise CannotMeasure("--data-mb %d: not even one key for each of %d clients" % (args.data_mb, args.clients))


def measure(args):
    entry = KEY_BYTES + args.value_bytes
    keys, requests = (args.data_mb << 20) // entry, (args.overwrite_mb << 20) // entry
    common = ["--keys", keys, "--value-bytes", args.value_bytes, "--compressible", 0, "--key-bytes", KEY_BYTES]
    common += ["--clients", args.clients, "--threads", args.threads, "--pipeline", args.depth]
    # A quarter of the memory is the most that memtables may have.
    extra = ["--shards", str(args.shards), "--memtable-size", "%dMB" % args.memtable_mb]
    extra += ["--memory", "%dMB" % max(512, 8 * args.memtable_mb), "--set", "compaction_style=leveled"]
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, extra + args.server_args.split())
        try:
            server.start()
            loaded = load.run(args, server, ["--workload", "load"] + common)
            print("loaded %d keys at %.0f/s" % (keys, loaded["rate"]), flush=True)
            server.settle()
            before = counters(server)
            words = ["--workload", "overwrite", "--distribution", "uniform", "--requests", requests]
            found = load.run(args, server, words + common)
            print("overwrote %d at %.0f/s" % (found["requests"], found["rate"]), flush=True)
            unsettled = counters(server)
            server.settle()
            after = counters(server)
            log_bytes = sum(size for path, size in server.files() if path.endswith(".wal"))
            all_bytes = sum(size for _, size in server.files())
            levels = server.info("level_bytes")
        finally:
            server.stop()
    return {
        "keys": keys,
        "user_bytes": found["requests"] * entry,
        "live_bytes": keys * entry,
        "rate": found["rate"],
        "written": {field: after[field] - before[field] for field in after},
        "written_before_settling": {field: unsettled[field] - before[field] for field in unsettled},
        "log_bytes": log_bytes,
        "other_bytes": all_bytes - log_bytes,
        "levels": levels,
    }


def run(args, results):
    print("\n%d MB alive, %d MB overwritten, %d MB of memtables in %d shard%s, leveled, %s" % (
        args.data_mb, args.overwrite_mb, args.memtable_mb, args.shards, "" if args.shards == 1 else "s", args.sync))
    if args.binary.endswith("redis-server"):
        raise CannotMeasure("redis-server has no tables: this mode measures rusty-lsm alone")
    found = measure(args)
    results.figures.update(found)
    user, written = found["user_bytes"], found["written"]
    if written["flushed_bytes"] == 0:
        raise CannotMeasure("nothing was flushed: --overwrite-mb %d is too little to say anything" % args.overwrite_mb)
    print("levels at rest, bytes: %s" % found["levels"])
    print("%-34s %10s %16s" % ("written by the overwrites", "MB", "per user byte"))
    tables = written["flushed_bytes"] + written["compacted_bytes"]
    for what, size in (
        ("flushes", written["flushed_bytes"]),
        ("compactions", written["compacted_bytes"]),
        ("write-ahead log", written["wal_written_bytes"]),
        ("all of these", tables + written["wal_written_bytes"]),
        ("the process, by the kernel", written["process"]),
    ):
        print("%-34s %10.1f %16.2f" % (what, size / 1e6, size / user))
    what = "write amplification, uniform overwrite of %d MB" % args.overwrite_mb
    results.limit(what + ", tables", "x", tables / user, at_most=TABLES_WRITTEN)
    results.limit(what + ", tables to bytes flushed", "x", tables / written["flushed_bytes"])
    results.limit(what + ", tables and log, by INFO", "x", (tables + written["wal_written_bytes"]) / user)
    results.limit(what + ", by the kernel", "x", written["process"] / user)
    results.limit("space at rest to live data, without the log", "x", found["other_bytes"] / found["live_bytes"], at_most=SPACE)
    results.limit("segments of the log at rest", "MB", found["log_bytes"] / 1e6)
