"""scripts/bench ttl: keys that live for seconds, written in a loop for minutes. Does their space come back?

The base: what the tables take with `--kept` keys that stay, settled. Then SETs of `--keys` keys at random, each to live for
`--ttl` seconds. Afterwards nobody writes any more, nothing is asked for, and the tables have `--return-seconds` to come back to
the base; the keys that stay must all be there, and none of the others. The log keeps what no table has yet, whatever it is, within
`wal_capacity`: it is shown apart.
"""

import subprocess
import time

from . import options
from .compare import redis_benchmark
from .machine import CannotMeasure
from .server import Home, Server

HELP = "10 minutes of keys that live for seconds: does the space of the tables come back?"
NEEDS = ("redis",)
OPTIONS = [
    options.Option("--keys", options.whole, 1_000_000, 100_000, "keys that end, drawn at random"),
    options.Option("--kept", options.whole, 100_000, 10_000, "keys that stay"),
    options.VALUE_BYTES,
    options.CLIENTS,
    options.DEPTH,
    options.SYNC,
    options.Option("--ttl", options.whole, 10, 2, "seconds that a key lives"),
    options.Option("--seconds", options.whole, 600, 10, "of writing"),
    options.Option("--return-seconds", options.whole, 120, 60, "in which the space has to come back"),
]
LOOK_S = 5
SPACE_TO_BASE = 1.1


def table_mb(server):
    return sum(size for path, size in server.files() if path.endswith(".sst")) / 1e6


def write(server, args, seconds):
    """One stretch of SETs with an end; about `seconds` long."""
    words = ["redis-benchmark", "-p", str(server.port), "-c", str(args.clients), "-P", str(args.depth), "-q"]
    words += ["-r", str(args.keys), "-n", str(args.keys), "-l", "set", "ends:__rand_int__", "x" * args.value_bytes, "ex", str(args.ttl)]
    load = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most, ends = 0.0, time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            time.sleep(min(LOOK_S, max(0.1, ends - time.monotonic())))
            if load.poll() is not None:
                raise CannotMeasure("redis-benchmark ended with code %d" % load.returncode)
            most = max(most, table_mb(server))
    finally:
        load.kill()
        load.wait()
    return most


def run(args, results):
    print("\n%d keys that live for %d s, written for %d s beside %d that stay, %d-byte values, %s" % (
        args.keys, args.ttl, args.seconds, args.kept, args.value_bytes, args.sync))
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, args.server_args.split())
        try:
            server.start()
            redis_benchmark(server, "set", 2 * args.kept, args.depth, args.clients, args.kept, args.value_bytes)
            server.settle()
            base, kept = table_mb(server), int(server.ask("DBSIZE"))
            writes = server.counter("total_commands_processed")
            most = write(server, args, args.seconds)
            writes = server.counter("total_commands_processed") - writes
            print("%d SETs" % writes, flush=True)
            began, allowed = time.monotonic(), SPACE_TO_BASE * base
            after = table_mb(server)
            while after > allowed and time.monotonic() - began < args.return_seconds:
                time.sleep(1)
                after = table_mb(server)
            taken = time.monotonic() - began
            time.sleep(max(0, args.ttl - taken))
            left = int(server.ask("DBSIZE"))
            log = server.disk_mb() - after
            found = {"base_mb": base, "most_mb": most, "after_mb": after, "seconds": taken, "sets": writes, "kept": kept, "left": left, "log_mb": log}
        finally:
            server.stop()
    results.figures.update(found)
    results.limit("tables, at most while keys end", "MB", most, beside=base, who="the base")
    results.limit("tables behind it", "MB", after, at_most=allowed, beside=base, who="the base")
    results.limit("the log behind it", "MB", log)
    results.limit("back to the base after", "s", taken, at_most=args.return_seconds)
    if left != kept:
        results.wrong("DBSIZE %d after all others have ended: %d keys stay" % (left, kept))
