"""scripts/bench restart: how long a server takes after kill -9 to answer a GET, with a log full of writes to replay.

Each run, in a new directory: SETs of new keys until their bytes are `--wal-mb`, under memtables that hold them all; a known key,
last; once nothing is left unsynced, kill -9; the data's pages are dropped from the kernel's cache. The clock runs from the start
of the process until a GET of the known key is answered with its value.
"""

import os
import secrets
import statistics
import time

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "time from start to the first right GET, after kill -9 with 64 MB in the log that are in no table"
NEEDS = ("load",)
OPTIONS = [
    options.RUNS._replace(default=5, quick=2, help="runs: median and worst are shown, the worst is judged"),
    options.Option("--wal-mb", options.whole, 64, 8, "bytes of keys and values in the log, all shards together"),
    options.VALUE_BYTES,
    options.CLIENTS,
    options.DEPTH,
    options.SYNC._replace(help="everysec or always"),
]
KEY_BYTES = 16
RESTART_S = 2.0
SYNCED_WITHIN_S = 30
POLL_S = 0.001


def check(args):
    if args.sync == "no":
        raise CannotMeasure("--sync no: what is on the disk when the server is killed is not known")
    if (args.wal_mb << 20) // (KEY_BYTES + args.value_bytes) < args.clients:
        raise CannotMeasure("--wal-mb %d: not even one key for each of %d clients" % (args.wal_mb, args.clients))


def asks_for(key, value, faults):
    """Whether a GET of `key` on a connection is answered; anything but `value` is a fault."""
    request = b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)
    wanted = b"$%d\r\n%s\r\n" % (len(value), value)

    def is_answered(connection):
        connection.sendall(request)
        said = b""
        while len(said) < len(wanted):
            part = connection.recv(4096)
            if not part:
                return False
            said += part
            if said.startswith(b"-LOADING"):
                return False
            if not wanted.startswith(said):
                break
        if said != wanted:
            faults.append("after kill -9, GET of the known key was answered with %r" % said[:80])
        return True

    return is_answered


def wait_until_synced(server):
    began = time.monotonic()
    while server.counter("wal_unsynced_operations") > 0:
        if time.monotonic() - began > SYNCED_WITHIN_S:
            raise CannotMeasure("operations are unsynced after %d s" % SYNCED_WITHIN_S)
        time.sleep(0.05)


def drop_cached_pages(server):
    """What is read after a restart comes from the disk, as far as the kernel follows the advice."""
    os.sync()
    for path, _ in server.files():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def measure(args):
    keys = -(-(args.wal_mb << 20) // (KEY_BYTES + args.value_bytes))
    # An entry takes more memory than its bytes; a quarter of the memory is the most that memtables may have.
    memtable_mb = max(64, 4 * args.wal_mb)
    extra = ["--memory", "%dMB" % (4 * memtable_mb + 256), "--memtable-size", "%dMB" % memtable_mb]
    extra += ["--set", "wal_capacity=%dMB" % max(256, 8 * args.wal_mb)]
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, extra + args.server_args.split())
        try:
            server.start()
            words = ["--workload", "load", "--keys", keys, "--value-bytes", args.value_bytes, "--compressible", 0]
            load.run(args, server, words + ["--key-bytes", KEY_BYTES, "--clients", args.clients, "--pipeline", args.depth])
            value = secrets.token_hex(args.value_bytes)
            said = server.ask("SET bench:known %s" % value)
            if said != "OK":
                raise CannotMeasure("SET of the known key was answered with %r" % said)
            wait_until_synced(server)
            if server.counter("flushed_bytes") > 0:
                raise CannotMeasure("the log was flushed while it was filled: it has less than --wal-mb %d to replay" % args.wal_mb)
            written = server.counter("wal_written_bytes")
            server.kill()
            drop_cached_pages(server)
            faults = []
            taken = server.start(asks_for(b"bench:known", value.encode(), faults), poll_s=POLL_S)
            found = {"seconds": taken, "operations": server.counter("recovery_operations"), "wal_written_bytes": written, "faults": faults}
            found.update(bytes=server.counter("recovery_bytes"), recovery_ms=server.counter("recovery_msec"))
        finally:
            server.stop()
    if found["operations"] < keys + 1:
        faults.append("after kill -9, %d operations were recovered of %d" % (found["operations"], keys + 1))
    return found


def run(args, results):
    print("\n%d MB of keys and values in the log, %d-byte values, %s, %d runs" % (args.wal_mb, args.value_bytes, args.sync, args.runs))
    if args.binary.endswith("redis-server"):
        raise CannotMeasure("redis-server has no such log: this mode measures rusty-lsm alone")
    runs = []
    for turn in range(args.runs):
        runs.append(measure(args))
        line = "run %d: %%(seconds).3f s; %%(operations)d operations in %%(bytes)d bytes replayed, recovery itself %%(recovery_ms)d ms" % (turn + 1)
        print(line % runs[-1], flush=True)
        for fault in runs[-1]["faults"]:
            results.wrong(fault)
    results.figures["runs"] = runs
    taken = [one["seconds"] for one in runs]
    what = "restart after kill -9, %d MB in the log" % args.wal_mb
    results.limit(what + ", median", "s", statistics.median(taken), at_most=RESTART_S)
    results.limit(what + ", worst of %d" % args.runs, "s", max(taken), at_most=RESTART_S)
