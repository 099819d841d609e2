"""fds, mem and pause: too few descriptors, too little memory, and a process that is stopped for seconds.

fds: the limit of open files falls to what the server has open and a few more, while clients write and others want to connect. The
accept loop does not spin, no shard turns read-only for it, INFO answers; when the limit is raised again, all goes on. A start
under a limit that is too small says so.

mem: a control group of 256 MiB, and many connections with large values, whole, half sent, and read without being taken. The
server's own limits hold before the kernel's killer does.

pause: SIGSTOP and SIGCONT for seconds under load. Nothing lost, nothing reordered.
"""

import os
import resource
import signal
import threading
import time

from .mode import SHARDS, Mode, Watcher, eventually
from .resp import Connection, ReplyError, Silence, Violation, encode
from .rig import ControlGroup, need_command

MB = 1 << 20


class Plain(Mode):
    """A new directory on the usual disk for each round."""

    def options(self, **more):
        small = ["wal_segment_size=1MB", "table_size=1MB"]
        memtable = self.rng.choice([64, 256]) * self.shards
        return {"sync": self.sync(), "shards": self.shards, "memtable": "%dKB" % memtable, "set": small, **more}

    def new_directory(self, wrap=()):
        self.directories += 1
        self.new_server(os.path.join(self.home, "d%d" % self.directories), wrap)
        self.new_clients()
        self.shards = self.rng.choice(SHARDS)

    def no_shard_is_read_only(self, why):
        with self.server.connect() as connection:
            info = connection.info()
        if info["read_only_shards"] != "0":
            raise Violation("%s made a shard read-only:\n%s" % (why, self.server.last_words()))

    def live_and_after_a_kill(self, options):
        self.verify(options["sync"], settle=False)
        self.server.kill()
        self.start(options)
        self.verify(options["sync"], self.must_until(options["sync"]))
        self.server.kill()
        self.server.check_log()


class Fds(Plain):
    name = "fds"
    rounds_full = 20
    SPIN_LOOK_S = 2.0
    # What a core that spins uses is 1.0 for each.
    CPU_MAX = 0.6
    WANT_IN = 60

    @classmethod
    def probe(cls, home):
        need_command("prlimit", "util-linux")

    def round(self, number):
        self.start_under_small_limit()
        self.new_directory()
        options = self.options()
        self.start(options)
        load = self.load()
        crowd = []
        with load:
            time.sleep(0.1 + self.rng.random() / 2)
            pid = self.server.process.pid
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            spare = self.rng.choice([0, 2, 10])
            tight = self.server.descriptors() + spare
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (tight, limits[1]))
            try:
                for _ in range(self.WANT_IN):
                    crowd.append(Connection(self.server.port))
                # Long enough under load that flushes, merges and new segments find no descriptor.
                time.sleep(0.5 + self.rng.random())
                load.check()
                load.idle.set()
                # What is under way ends first.
                time.sleep(1.0)
                cpu = self.spin()
                load.idle.clear()
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            for connection in crowd:
                if (reply := connection.ask("PING")) != "PONG":
                    raise Violation("PING once there are descriptors again: %s" % reply)
                connection.close()
            acked = load.acked()
            eventually("writes go on once there are descriptors again", lambda: load.acked() > acked + 50 or any(c.error for c in self.clients))
        load.check()
        acked = load.acked()
        self.no_shard_is_read_only("a lack of descriptors")
        self.live_and_after_a_kill(options)
        return "%-8s shards %d: limit %3d, %d wanted in, %.0f %% of a core while full, %6d acknowledged" % (
            options["sync"],
            self.shards,
            tight,
            self.WANT_IN,
            cpu * 100,
            acked,
        )

    def spin(self):
        """Share of a core that is used while nobody asks for anything but to be let in."""
        began, used = time.monotonic(), self.server.cpu_s()
        time.sleep(self.SPIN_LOOK_S)
        share = (self.server.cpu_s() - used) / (time.monotonic() - began)
        if share > self.CPU_MAX:
            raise Violation("%.0f %% of a core are used while clients wait to be accepted" % (share * 100))
        return share

    def start_under_small_limit(self):
        limit = self.rng.choice([64, 100, 128])
        self.directories += 1
        data = os.path.join(self.home, "d%d" % self.directories)
        self.new_server(data, ["prlimit", "--nofile=%d:%d" % (limit, limit)])
        self.server.start({"sync": "always", "shards": 1, "memtable": "256KB"})
        if self.server.is_ready():
            with self.server.connect() as connection:
                if (reply := connection.ask("SET", b"key", b"value")) != "OK":
                    raise Violation("SET with %d descriptors: %s" % (limit, reply))
            self.server.kill()
        elif self.server.ended() != 69 or "raise the limit" not in self.server.last_words():
            raise Violation("a start with %d descriptors ends with code %d:\n%s" % (limit, self.server.ended(), self.server.last_words()))


class Mem(Plain):
    name = "mem"
    rounds_full = 10
    LIMIT = 256 * MB
    CONNECTIONS = 64
    SECONDS = 6.0
    KINDS = [("write",), ("half",), ("read", "read", "write"), ("write", "half", "read")]

    @classmethod
    def probe(cls, home):
        with ControlGroup(cls.LIMIT):
            pass

    def round(self, number):
        with ControlGroup(self.LIMIT) as group:
            try:
                return self.in_group(group)
            finally:
                self.server.kill()

    def in_group(self, group):
        self.new_directory(group.enter_words())
        self.shards = self.rng.choice([1, 2])
        self.kinds = self.rng.choice(self.KINDS)
        # The defaults, as a user would start it in a container of that size.
        options = {"sync": self.sync(), "shards": self.shards, "memtable": "16MB"}
        self.start(options)
        with self.server.connect() as connection:
            reply = connection.ask("CONFIG", "GET", "proto-max-bulk-len")
            self.largest = int(reply[1]) if isinstance(reply, list) and len(reply) == 2 else 8 * MB
        self.done = threading.Event()
        self.found, self.moved = [], 0
        load = self.load()
        with load, Watcher(self.server.rss_bytes) as rss:
            crowd = [threading.Thread(target=self.crowd, args=(each,), daemon=True) for each in range(self.CONNECTIONS)]
            for thread in crowd:
                thread.start()
            time.sleep(self.SECONDS)
            self.done.set()
            for thread in crowd:
                thread.join()
            ended = self.server.ended()
        if ended is not None or group.kills():
            raise Violation(
                "the kernel's killer came before our own limits (%s): code %s, %d kills, %d MB resident at most:\n%s"
                % (" ".join(self.kinds), ended, group.kills(), rss.largest // MB, self.server.last_words())
            )
        load.check()
        if self.found:
            raise Violation("a large value: %s" % self.found[0])
        self.no_shard_is_read_only("a flood of large values")
        with self.server.connect() as connection:
            for each in range(self.CONNECTIONS):
                connection.ask("DEL", b"large%d" % each)
        # All of it is counted and read back, while merges go on with the large values.
        with Watcher(self.server.rss_bytes) as reading:
            try:
                self.live_and_after_a_kill(options)
            except ConnectionError:
                if group.kills():
                    raise Violation("the kernel's killer came while it was read back, %d MB resident at most" % (reading.largest // MB)) from None
                raise
        return "%-8s shards %d, %s: %d MB resident at most, %d while read back, %d MB moved, values up to %d MB" % (
            options["sync"],
            self.shards,
            " ".join(self.kinds),
            rss.largest // MB,
            reading.largest // MB,
            self.moved // MB,
            self.largest // MB,
        )

    def crowd(self, each):
        """One of many: writes large values, or leaves one half sent, or asks for many and takes none."""
        kind = self.kinds[each % len(self.kinds)]
        key = b"large%d" % (each - each % 3)
        value = os.urandom(self.largest // 2) + bytes(self.largest // 2 - 64)
        try:
            with Connection(self.server.port, waits=400) as connection:
                if kind == "half":
                    connection.send(encode("SET", key, value)[: -self.largest // 4])
                    self.done.wait()
                    return
                if kind == "read":
                    connection.send(encode("GET", key) * 200)
                    self.done.wait()
                    return
                while not self.done.is_set():
                    reply = connection.ask("SET", key, value)
                    # An overloaded server may refuse, if it says so.
                    if reply != "OK" and not str(reply).startswith(("OOM", "ERR max")):
                        self.found.append(reply)
                        return
                    self.moved += len(value)
        except OSError:
            pass  # closed for want of memory: the others must go on
        except Silence as silence:
            self.found.append(repr(silence))


class Pause(Plain):
    name = "pause"
    rounds_full = 30

    def round(self, number):
        self.new_directory()
        options = self.options()
        self.start(options)
        load = self.load(waits=200)
        pauses = []
        with load:
            for _ in range(self.rng.choice([1, 2, 5])):
                time.sleep(self.rng.random() / 2)
                self.server.process.send_signal(signal.SIGSTOP)
                pauses.append(self.rng.choice([0.05, 0.5, 2.0, 5.0]) * self.rng.random())
                time.sleep(pauses[-1])
                self.server.process.send_signal(signal.SIGCONT)
                acked = load.acked()
                eventually("writes go on after SIGCONT", lambda: load.acked() > acked or any(c.error for c in self.clients))
        load.check()
        with self.server.connect() as connection:
            interrupts = connection.info()["watchdog_interrupts"]
        acked = load.acked()
        self.no_shard_is_read_only("a pause")
        self.live_and_after_a_kill(options)
        return "%-8s shards %d: %d pauses, %.1f s in all, %6d acknowledged, %s interrupts" % (
            options["sync"],
            self.shards,
            len(pauses),
            sum(pauses),
            acked,
            interrupts,
        )

    def close(self):
        if self.server is not None and self.server.process is not None and self.server.ended() is None:
            self.server.process.send_signal(signal.SIGCONT)
        super().close()
