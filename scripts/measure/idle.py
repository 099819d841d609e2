"""scripts/bench idle: CPU of a server that nobody talks to, and what an idle connection takes.

Each connection has set and read a value before it falls silent: what it keeps after that is counted, not what it never asked for.
Memory is that of the process (RSS), before the connections and with them; what the kernel keeps for sockets is not in it.
"""

import time

from . import options
from .bigdata import connect, receive
from .compare import redis_benchmark
from .machine import CannotMeasure, need_files
from .server import Home, Server

HELP = "CPU of a server that nobody talks to, without and with open connections, and memory of one of ten thousand"
NEEDS = ("redis",)
OPTIONS = [
    options.Option("--idle-seconds", options.positive, 10, 3, "for which the CPU is watched"),
    options.Option("--many", options.whole, 10_000, 1_000, "connections of which the memory is judged"),
]
# Of one core, all threads together.
CPU_PERCENT = 1.0
FEW = 50
CONNECTION_KIB = 20
REQUESTS = b"SET idle value\r\nGET idle\r\n"
REPLIES = b"+OK\r\n$5\r\nvalue\r\n"


def check(args):
    need_files("--many", args.many)


def used_once(port):
    connection = connect(port)
    connection.sendall(REQUESTS)
    said = receive(connection, len(REPLIES))
    if said != REPLIES:
        raise CannotMeasure("SET and GET were answered with %r" % said)
    return connection


def measure(program, connections, args):
    with Home(args) as home:
        server = Server(program, "always", home, args.server_args.split())
        open_ones = []
        try:
            server.start()
            redis_benchmark(server, "set", 20_000, 1, FEW, 1_000_000, 100)
            without = server.memory_mb("VmRSS")
            open_ones = [used_once(server.port) for _ in range(connections)]
            time.sleep(3)
            before = server.cpu_seconds()
            time.sleep(args.idle_seconds)
            percent = 100 * (server.cpu_seconds() - before) / args.idle_seconds
            rss = server.memory_mb("VmRSS")
            each_kib = 1024 * (rss - without) / connections if connections else None
            return {"cpu_percent": percent, "rss": rss, "connection_kib": each_kib}
        finally:
            for connection in open_ones:
                connection.close()
            server.stop()


def run(args, results):
    print("\nover %g s each" % args.idle_seconds)
    for connections in (0, FEW, args.many):
        rows = {who: measure(program, connections, args) for who, program in (("redis", "redis-server"), ("ours", args.binary))}
        results.figures["%d connections" % connections] = rows
        what = "idle, %d connections" % connections
        percents = {who: row["cpu_percent"] for who, row in rows.items()}
        results.limit(what + ", CPU of a core", "%", percents["ours"], below=CPU_PERCENT, beside=percents["redis"])
        results.limit(what + ", RSS", "MB", rows["ours"]["rss"], beside=rows["redis"]["rss"])
        if connections == args.many:
            ours, theirs = rows["ours"]["connection_kib"], rows["redis"]["connection_kib"]
            results.limit(what + ", memory of each", "KiB", ours, at_most=CONNECTION_KIB, beside=theirs)
