"""scripts/bench bigdata: more data than memory: loaded, read back, restarted, killed, every byte of every key compared."""

import multiprocessing
import random
import socket
import time

from . import options
from .machine import CannotMeasure
from .server import READY_WITHIN_S, Home, Server

HELP = "2 GB of keys under a memory budget of 256 MB: load, restart, kill -9, every key read back, RSS"
NEEDS = ()
OPTIONS = [
    options.Option("--big-keys", options.whole, 4_000_000, 400_000, "keys"),
    options.Option("--big-value", options.whole, 500, 500, "bytes of a value, 13 at least"),
    options.Option("--budget-mb", options.whole, 256, 256, "--memory of the server"),
    options.Option("--workers", options.whole, 2, 2, "client processes"),
    options.SYNC,
]
# Peak RSS to the budget.
RSS_TO_BUDGET = 1.1
POOL_BYTES = 4 << 20
BATCH = 400


def value_pool():
    # Noise: does not compress, so that what is written is what was sent.
    return random.Random(42).randbytes(POOL_BYTES)


def big_value(pool, index, length, version):
    at = (index * 7919 + version * 104_729) % (POOL_BYTES - length)
    return b"%012d" % index + pool[at : at + length - 12]


def receive(connection, length):
    parts = []
    while length > 0:
        part = connection.recv(min(length, 1 << 18))
        if not part:
            raise CannotMeasure("the server closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=READY_WITHIN_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def load_keys(port, start, stop, length, worker, workers, queue):
    """Writes every workers-th batch in order of a shuffle: keys do not arrive sorted."""
    pool, connection = value_pool(), connect(port)
    batches = list(range(start, stop, BATCH))
    random.Random(1).shuffle(batches)
    for first in batches[worker::workers]:
        last = min(first + BATCH, stop)
        parts = []
        for index in range(first, last):
            key = b"big:%010d" % index
            parts.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, length, big_value(pool, index, length, 0)))
        connection.sendall(b"".join(parts))
        said = receive(connection, 5 * (last - first))
        if said != b"+OK\r\n" * (last - first):
            queue.put("SET answered %r" % said[:200])
            return
    queue.put(None)


def verify_keys(port, start, stop, length, worker, workers, queue):
    """Reads every workers-th batch and compares every byte."""
    pool, connection = value_pool(), connect(port)
    batches = list(range(start, stop, BATCH))
    random.Random(2).shuffle(batches)
    for first in batches[worker::workers]:
        last = min(first + BATCH, stop)
        asked, wanted = [], []
        for index in range(first, last):
            key = b"big:%010d" % index
            asked.append(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
            wanted.append(b"$%d\r\n%s\r\n" % (length, big_value(pool, index, length, 0)))
        connection.sendall(b"".join(asked))
        for index, want in zip(range(first, last), wanted):
            # Piece by piece, so that a missing key is named and does not leave the reader waiting.
            said = receive(connection, 5)
            said = said if said == b"$-1\r\n" else said + receive(connection, len(want) - 5)
            if said != want:
                queue.put("key big:%010d: %r" % (index, said[:80]))
                return
    queue.put(None)


def in_processes(job, port, args):
    """Runs `job` over all keys in several processes; seconds taken."""
    queue, workers = multiprocessing.Queue(), args.workers
    began = time.monotonic()
    processes = [
        multiprocessing.Process(target=job, args=(port, 0, args.big_keys, args.big_value, worker, workers, queue), daemon=True)
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise CannotMeasure("a worker ended with code %s" % process.exitcode)
    faults = [fault for fault in (queue.get(timeout=10) for _ in processes) if fault]
    return time.monotonic() - began, faults


def check(args):
    if args.big_value < 13:
        raise CannotMeasure("--big-value %d: 12 bytes say which key a value belongs to" % args.big_value)


def run(args, results):
    print("\n%d keys x %d bytes = %.2f GB, --memory %dMB, sync %s" % (
        args.big_keys, args.big_value, args.big_keys * args.big_value / 1e9, args.budget_mb, args.sync))
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, ["--memory", "%dMB" % args.budget_mb] + args.server_args.split())
        peaks = []

        def row(what, taken, faults):
            peaks.append(server.memory_mb("VmHWM"))
            figures = {"seconds": taken, "keys_per_s": args.big_keys / taken, "rss": server.memory_mb("VmRSS"), "peak_rss": peaks[-1]}
            figures.update(cpu_seconds=server.cpu_seconds(), disk_mb=server.disk_mb())
            results.figures[what] = figures
            line = "%(seconds)7.1f s %(keys_per_s)9.0f keys/s   RSS %(rss)5.0f MB, peak %(peak_rss)5.0f MB   "
            line += "CPU %(cpu_seconds)6.1f s   disk %(disk_mb)6.0f MB"
            print("%-26s " % what + line % figures, flush=True)
            for fault in faults:
                results.wrong(fault)

        def start(what):
            taken = server.start()
            results.figures[what] = {"seconds": taken}
            print("%-26s %7.1f s" % (what, taken), flush=True)

        try:
            server.start()
            row("load", *in_processes(load_keys, server.port, args))
            row("read back, every key", *in_processes(verify_keys, server.port, args))
            began = time.monotonic()
            server.stop()
            print("%-26s %7.1f s" % ("stop", time.monotonic() - began))
            start("start")
            row("after restart, every key", *in_processes(verify_keys, server.port, args))
            server.kill()
            start("start after kill -9")
            row("after kill -9, every key", *in_processes(verify_keys, server.port, args))
        finally:
            server.stop()
    results.limit("keys loaded, more data than memory", "/s", results.figures["load"]["keys_per_s"])
    # Both in MiB: the server reads MB so, and /proc counts so.
    results.limit("peak RSS, budget %d MB" % args.budget_mb, "MB", max(peaks), at_most=args.budget_mb * RSS_TO_BUDGET)
