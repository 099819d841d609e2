"""scripts/bench idle: CPU of a server that nobody talks to."""

import time

from . import options
from .bigdata import connect
from .compare import redis_benchmark
from .server import Home, Server

HELP = "CPU of a server that nobody talks to, without and with open connections"
NEEDS = ("redis",)
OPTIONS = [options.Option("--idle-seconds", options.positive, 10, 3, "for which the CPU is watched")]
# Of one core, all threads together.
CPU_PERCENT = 1.0
CONNECTIONS = (0, 50)


def measure(program, connections, args):
    with Home(args) as home:
        server = Server(program, "always", home, args.server_args.split())
        open_ones = []
        try:
            server.start()
            redis_benchmark(server, "set", 20_000, 1, 50, 1_000_000, 100)
            open_ones = [connect(server.port) for _ in range(connections)]
            time.sleep(3)
            before = server.cpu_seconds()
            time.sleep(args.idle_seconds)
            percent = 100 * (server.cpu_seconds() - before) / args.idle_seconds
            return {"cpu_percent": percent, "rss": server.memory_mb("VmRSS")}
        finally:
            for connection in open_ones:
                connection.close()
            server.stop()


def run(args, results):
    print("\nover %g s each" % args.idle_seconds)
    for connections in CONNECTIONS:
        rows = {who: measure(program, connections, args) for who, program in (("redis", "redis-server"), ("ours", args.binary))}
        results.figures["%d connections" % connections] = rows
        what = "idle, %d connections" % connections
        percents = {who: row["cpu_percent"] for who, row in rows.items()}
        results.limit(what + ", CPU of a core", "%", percents["ours"], below=CPU_PERCENT, beside=percents["redis"])
        results.limit(what + ", RSS", "MB", rows["ours"]["rss"], beside=rows["redis"]["rss"])
