"""scripts/bench pubsub: one publisher, many subscribers of one channel, beside redis-server.

A thread reads what the subscribers are sent, all of them now and then, so that reading costs little beside sending. The rate is
that of PUBLISH, each answered before the next one (or `--depth` at a time); every subscriber must get every message, in order.
"""

import socket
import statistics
import threading
import time

from . import options
from .machine import CannotMeasure, need_files
from .server import Home, Server

HELP = "beside redis-server: messages of one publisher to a thousand subscribers"
NEEDS = ("redis",)
OPTIONS = [
    options.RUNS,
    options.Option("--subscribers", options.whole, 1_000, 200, "connections that listen"),
    options.Option("--seconds", options.seconds, 10.0, 2.0, "of publishing"),
    options.DEPTH._replace(default=1, quick=1, help="messages that are sent together"),
    options.VALUE_BYTES._replace(help="bytes of a message"),
]
RATE = 0.8
READ_BYTES = 1 << 20
READ_EVERY_S = 0.02
DONE_WITHIN_S = 60


def check(args):
    need_files("--subscribers", args.subscribers)


def subscribe(port, count):
    listeners = []
    for _ in range(count):
        listener = socket.create_connection(("127.0.0.1", port))
        listener.sendall(b"SUBSCRIBE news\r\n")
        said = b""
        while not said.endswith(b":1\r\n"):
            said += listener.recv(4096)
        listener.setblocking(False)
        listeners.append(listener)
    return listeners


class Reader(threading.Thread):
    """Counts the bytes that each subscriber gets, and keeps the first one's."""

    def __init__(self, listeners):
        super().__init__(daemon=True)
        self.listeners, self.bytes, self.first, self.is_over = listeners, [0] * len(listeners), bytearray(), False

    def run(self):
        while not self.is_over:
            began = time.monotonic()
            self.read_all()
            time.sleep(max(0.0, READ_EVERY_S - (time.monotonic() - began)))

    def read_all(self):
        for index, listener in enumerate(self.listeners):
            try:
                part = listener.recv(READ_BYTES)
            except BlockingIOError:
                continue
            self.bytes[index] += len(part)
            if index == 0:
                self.first += part


def message_of(number, size):
    return (b"%012d" % number).ljust(size, b"x")


def measure(server, args, results):
    listeners = subscribe(server.port, args.subscribers)
    reader = Reader(listeners)
    reader.start()
    publisher = socket.create_connection(("127.0.0.1", server.port))
    publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    size = max(args.value_bytes, 12)
    answer = b":%d\r\n" % args.subscribers
    before, sent, began = server.cpu_seconds(), 0, time.monotonic()
    while time.monotonic() - began < args.seconds:
        words = b""
        for _ in range(args.depth):
            words += b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$%d\r\n%s\r\n" % (size, message_of(sent, size))
            sent += 1
        publisher.sendall(words)
        said = b""
        while len(said) < len(answer) * args.depth:
            said += publisher.recv(65536)
        if said != answer * args.depth:
            results.wrong("PUBLISH was answered with %r instead of %r" % (said[:80], answer))
            break
    took = time.monotonic() - began
    cpu = server.cpu_seconds() - before
    one = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%s\r\n"
    wanted = sum(len(one % (size, message_of(number, size))) for number in range(sent))
    deadline = time.monotonic() + DONE_WITHIN_S
    while min(reader.bytes) < wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    reader.is_over = True
    reader.join()
    if set(reader.bytes) != {wanted}:
        results.wrong("subscribers got %d to %d bytes of %d" % (min(reader.bytes), max(reader.bytes), wanted))
    if reader.first != b"".join(one % (size, message_of(number, size)) for number in range(sent)):
        results.wrong("the messages of the first subscriber are not in order")
    for connection in listeners + [publisher]:
        connection.close()
    return {"rate": sent / took, "cpu_us": cpu * 1e6 / (sent * args.subscribers)}


def run(args, results):
    found = {"redis": [], "ours": []}
    for _ in range(args.runs):
        for label, program, extra in (("redis", "redis-server", []), ("ours", args.binary, args.server_args.split())):
            with Home(args) as home:
                server = Server(program, "everysec", home, extra)
                try:
                    server.start()
                    figures = measure(server, args, results)
                finally:
                    server.stop()
            print("  %-6s %8.0f PUBLISH/s  %9.0f messages/s  %6.2f us of CPU a message" % (
                label, figures["rate"], figures["rate"] * args.subscribers, figures["cpu_us"]), flush=True)
            found[label].append(figures)
    median = {label: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for label, runs in found.items()}
    what = "PUBLISH to %d subscribers, depth %d" % (args.subscribers, args.depth)
    results.ratio(what, "/s", median["ours"]["rate"], median["redis"]["rate"], at_least=RATE)
    results.ratio(what + ": CPU a message", "us", median["ours"]["cpu_us"], median["redis"]["cpu_us"])
    results.figures = {"runs": found}
