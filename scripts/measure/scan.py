"""scripts/bench scan: SCAN and DBSIZE while keys come and go for minutes, under memtables so small that flush and merge never rest.

Some keys stay throughout: every SCAN from 0 to 0 must return each of them. Others are set and deleted at random. DBSIZE must lie
between those that stay and all that there may be, give or take what an estimate may be wrong by; when nobody writes any more, near
what a last SCAN counts.
"""

import statistics
import subprocess
import time

from crashloop.resp import Connection, ReplyError, encode

from . import options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "10 minutes of SCAN and DBSIZE while others write, flush and merge: is every key there that stays?"
NEEDS = ("redis",)
OPTIONS = [
    options.Option("--kept", options.whole, 100_000, 10_000, "keys that stay"),
    options.Option("--keys", options.whole, 200_000, 20_000, "keys that come and go"),
    options.VALUE_BYTES,
    options.CLIENTS,
    options.SYNC,
    options.Option("--seconds", options.whole, 600, 10, "of writing and scanning"),
    options.Option("--count", options.whole, 1000, 1000, "COUNT of SCAN"),
    options.Option("--memtable-kb", options.whole, 1024, 512, "of each shard"),
]
PATTERNS = ("*", "stays:*", "?tays:*")
# What DBSIZE may be wrong by where it is an estimate.
ESTIMATE_ERROR = 0.05
BATCH = 1000


class Client(Connection):
    """One connection to a server that must not refuse anything."""

    def ask(self, *words):
        self.send(encode(*words))
        return self.answer()

    def answer(self):
        said = self.reply()
        if isinstance(said, ReplyError):
            raise CannotMeasure("the server answered %r" % said)
        return said

    def scan(self, pattern, count):
        """All keys of one SCAN from 0 to 0; a key as often as it came."""
        cursor, keys = b"0", []
        while True:
            cursor, page = self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", str(count))
            keys += page
            if cursor == b"0":
                return keys


def load_kept(client, count, value_bytes):
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        client.send(b"".join(encode("SET", "stays:%d" % number, ("%d:" % number).ljust(value_bytes, "v")) for number in range(first, last)))
        for _ in range(first, last):
            client.answer()


def churn(server, args):
    """Two that write without end."""
    words = ["redis-benchmark", "-p", str(server.port), "-c", str(args.clients), "-P", "4", "-q", "-l", "-r", str(args.keys), "-n", str(args.keys)]
    commands = (["set", "comes:__rand_int__", "x" * args.value_bytes], ["del", "comes:__rand_int__"])
    return [subprocess.Popen(words + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]


def run(args, results):
    print("\n%d keys stay, %d come and go for %d s; memtables of %d KB; %s" % (
        args.kept, args.keys, args.seconds, args.memtable_kb, args.sync))
    extra = [] if args.binary.endswith("redis-server") else ["--memtable-size", "%dKB" % args.memtable_kb]
    stays = {b"stays:%d" % number for number in range(args.kept)}
    took, sizes, missing, twice = [], [], 0, 0
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, extra + args.server_args.split())
        writers = []
        try:
            server.start()
            client = Client(server.port)
            load_kept(client, args.kept, args.value_bytes)
            writers = churn(server, args)
            ends = time.monotonic() + args.seconds
            while time.monotonic() < ends:
                began = time.monotonic()
                keys = client.scan(PATTERNS[len(took) % len(PATTERNS)], args.count)
                took.append(time.monotonic() - began)
                found = set(keys)
                missing += len(stays - found)
                twice += len(keys) - len(found)
                sizes.append(client.ask("DBSIZE"))
                if any(writer.poll() is not None for writer in writers):
                    raise CannotMeasure("redis-benchmark has ended")
            for writer in writers:
                writer.kill()
                writer.wait()
            time.sleep(1)
            merges = {} if server.redis else {field: server.counter(field) for field in ("compactions", "flushed_bytes")}
            counted, said = len(set(client.scan("*", args.count))), client.ask("DBSIZE")
        finally:
            for writer in writers:
                writer.kill()
            server.stop()
    results.figures.update(scans=len(took), seconds=took, sizes=sizes, counted=counted, said=said, **merges)
    print("%d scans of %.2f s each, median; %s" % (len(took), statistics.median(took), merges), flush=True)
    results.limit("keys that stay and that a SCAN did not return", "", missing, at_most=0)
    results.limit("keys that a SCAN returned twice", "", twice)
    least, most = args.kept * (1 - ESTIMATE_ERROR), (args.kept + args.keys) * (1 + ESTIMATE_ERROR)
    results.limit("DBSIZE while keys come and go, smallest", "", min(sizes), at_least=least)
    results.limit("the same, largest", "", max(sizes), at_most=most)
    results.limit("DBSIZE behind it", "", said, at_least=counted * (1 - ESTIMATE_ERROR), at_most=counted * (1 + ESTIMATE_ERROR), beside=counted, who="a SCAN")
    if missing:
        results.wrong("%d keys that stay were not returned" % missing)
