"""eio and slow: one of two shards lies on a disk that fails below the file system, or answers nothing for seconds.

eio: reads, writes or flushes fail from some moment on. Nothing is acknowledged that is not there after a restart on a healthy
disk; the shard turns read-only, says so in INFO and in each write's error, and stays so; its reads answer the truth or an error;
the other shard goes on.

slow: the disk stands still, once or a few times. The other shard answers meanwhile, on connections of both cores; no core's thread waits
for the disk; a write is not acknowledged early; a flood of large values finds its bound in the server's own limits; when the disk goes
on, so does everything.
"""

import binascii
import contextlib
import os
import re
import shutil
import threading
import time

from .mode import Mode, Watcher, eventually
from .oracle import EVER, NEVER, read_back
from .power import WINDOW_S
from .resp import WAITS_MAX, Connection, ReplyError, Silence, Trouble, Violation, encode
from .rig import SickDisk, need_sick_disk

SHARDS, HEALTHY, SICK = 2, 0, 1
SLOTS = 16384
SIZE_MB = 256
READ_ONLY = re.compile(r"MISCONF shard %d is read-only since its disk failed \(.+\); restart the server to recover$" % SICK)
READ_ERROR = re.compile(r"ERR .*Input/output error")
EMERGENCY = re.compile(r"read.only|Input/output error|os error")


def tag_in(shard, salt):
    """A hash tag whose keys lie in `shard`."""
    for number in range(1 << 20):
        tag = "%s.%d" % (salt, number)
        if binascii.crc_hqx(tag.encode(), 0) % SLOTS * SHARDS // SLOTS == shard:
            return tag
    raise AssertionError("no tag in a million")


class OnSickDisk(Mode):
    """A new directory each round: what failed stays failed."""

    @classmethod
    def probe(cls, home):
        need_sick_disk(home)

    def __init__(self, args, home):
        super().__init__(args, home)
        self.disk = None

    def options(self, **more):
        small = ["table_size=1MB", "wal_segment_size=%dMB" % self.rng.choice([1, 16]), "block_cache_capacity=2MB", "memory=192MB"]
        memtable = self.rng.choice([64, 256, 2048]) * SHARDS
        return {"sync": self.sync(), "shards": SHARDS, "memtable": "%dKB" % memtable, "set": small, **more}

    def new_directory(self, options):
        self.drop_directory()
        self.directories += 1
        data = os.path.join(self.home, "d%d" % self.directories)
        self.new_server(data)
        self.new_clients(8, lambda number: tag_in(SICK if number >= 4 else HEALTHY, "t%d" % number))
        # The directory is made on a healthy disk, then one shard of it is moved.
        self.start(options)
        self.server.terminate()
        self.disk = SickDisk(os.path.join(self.home, "disk%d" % self.directories), SIZE_MB)
        self.disk.attach()
        self.shard_dir = os.path.join(data, "shard-%03d" % SICK)
        inside = os.path.join(self.disk.path, "inside")
        shutil.copytree(self.shard_dir, inside)
        os.chmod(inside, 0o700)
        self.disk.bind(self.shard_dir)

    def drop_directory(self):
        if self.disk is not None:
            self.disk.go_on()
            self.server.kill()
            self.disk.close()
            self.disk = None
            shutil.rmtree(self.server.data_dir)

    def sick(self):
        return self.clients[4:]

    def healthy(self):
        return self.clients[:4]

    def new_disk(self):
        """The same file system on a disk that works."""
        self.disk.detach()
        self.disk.attach()
        self.disk.bind(self.shard_dir)

    def verify_both(self, options, sick_until):
        sync = options["sync"]
        everyone = self.clients
        with self.server.connect() as connection:
            found = read_back(connection, everyone)
        for client in everyone:
            until = sick_until if client in self.sick() else (NEVER if sync == "no" else EVER)
            client.verify(found[client.number], sync, until)
        self.writes += sum(client.acked() for client in everyone)
        return found

    def close(self):
        if self.disk is not None:
            self.disk.go_on()
        super().close()
        if self.disk is not None:
            self.disk.close()


class Eio(OnSickDisk):
    name = "eio"
    rounds_full = 45

    def refusal(self, text):
        # Whether the last writes before the failure are there is not known.
        return False if READ_ONLY.match(text) else None

    def read_refusal(self, text):
        # A read of what was not durable when the log failed is told so; one that meets the disk names the error.
        return (READ_ERROR if self.kind == "read" else READ_ONLY).match(text) is not None

    def round(self, number):
        options = self.options()
        self.kind = self.rng.choice(["write", "flush", "read"])
        self.new_directory(options)
        self.start(options)
        load = self.load(refusal=self.refusal, read_refusal=self.read_refusal)
        with load:
            time.sleep(0.1 + self.rng.random())
            failed_at = time.monotonic()
            self.disk.fail(self.kind)
            if self.kind == "read":
                time.sleep(1.0 + self.rng.random())
                state = self.state()
            else:
                found = lambda: any(client.error for client in self.clients) or self.state() == "read-only"
                eventually("INFO tells of the failed shard", found)
                load.check()
                state = self.state()
                eventually("a write of the failed shard is refused", lambda: load.refused or any(c.error for c in self.clients))
            before = sum(client.acked() for client in self.healthy())
            goes_on = lambda: sum(client.acked() for client in self.healthy()) > before + 10 or any(c.error for c in self.clients)
            eventually("the other shard goes on", goes_on)
        load.check()
        self.sticky(load)
        self.reads_are_true(options, failed_at)
        self.server.kill()
        self.new_disk()
        self.keep_image()
        self.start(options)
        sick_until = {"always": EVER, "everysec": failed_at - WINDOW_S, "no": NEVER}[options["sync"]]
        self.verify_both(options, sick_until)
        self.until_taken()
        self.server.kill()
        self.server.check_log()
        return "%-5s fails, %-8s  %6d acknowledged, %4d refused, the shard is %s" % (self.kind, options["sync"], load.acked(), load.refused, state)

    def state(self):
        with self.server.connect() as connection:
            info = connection.info()
        state = re.search(r"state=([^,]+)", info["shard%d" % SICK]).group(1)
        if state == "read-only" and not EMERGENCY.search(info["shard%d_read_only" % SICK]):
            raise Violation("INFO does not say why: %s" % info["shard%d_read_only" % SICK])
        return state

    def sticky(self, load):
        for client in self.sick():
            failed = False
            for command in client.log:
                failed = failed or (command.state == "open" and command.at is not None)
                if failed and command.state == "acked" and not command.is_delete:
                    raise Violation("client %d: a write was acknowledged after the shard had turned read-only" % client.number)

    def reads_are_true(self, options, failed_at):
        """While it is failed: each read answers a version that may be there, or an error that names the failure."""
        with self.server.connect() as connection:
            for client in self.sick():
                for key in client.base:
                    reply = connection.ask("GET", client.name(key))
                    if isinstance(reply, ReplyError):
                        if self.kind != "read" or not self.read_refusal(str(reply)):
                            raise Violation("GET on a failed disk: %s" % reply)
                        continue
                    acked = [c.changes[key] for c in client.log if c.state == "acked" and key in c.changes]
                    if reply is None and options["sync"] == "always" and acked and acked[-1] is not None:
                        if not any(c.changes.get(key, 0) is None for c in client.log if c.state == "open"):
                            raise Violation("%s is told to be absent on a failed disk, version %s was acknowledged" % (client.name(key), acked[-1]))

    def until_taken(self):
        with self.server.connect() as connection:
            reply = connection.ask("SET", "{%s}again" % self.sick()[0].tag, b"x")
        if reply != "OK":
            raise Violation("SET after a restart on a healthy disk: %s" % reply)


class Slow(OnSickDisk):
    name = "slow"
    rounds_full = 20
    syncs = ["always", "always", "everysec"]
    # The server is told to use 192 MB; its own code, the allocator and what is in flight are beside that.
    RSS_MAX = 288 << 20
    FLOODERS, FLOOD_VALUES, FLOOD_BYTES = 24, 40, 300_000
    STALLS_MAX, STATE_LOOKS, STATE_LOOK_S = 4, 10, 0.1

    def round(self, number):
        options = self.options()
        self.new_directory(options)
        self.start(options)
        # Those who wait for the disk wait as long as it stands, however slow the rest of this machine is.
        load = self.load(waits=10 * WAITS_MAX)
        with load, Watcher(self.server.rss_bytes) as rss:
            time.sleep(0.2 + self.rng.random())
            self.disk.stall()
            began = time.monotonic()
            try:
                early = self.write_that_waits() if options["sync"] == "always" else None
                flood = [threading.Thread(target=self.flood, args=(each,), daemon=True) for each in range(self.FLOODERS)]
                self.flood_errors = []
                for thread in flood:
                    thread.start()
                self.others_answer(load)
                self.cores_go_round(options)
                time.sleep(self.rng.random() * 4)
                if early is not None:
                    self.still_waits(early)
            finally:
                self.disk.go_on()
            stalled_s = time.monotonic() - began
            for thread in flood:
                thread.join()
            for _ in range(self.rng.randrange(self.STALLS_MAX)):
                time.sleep(self.rng.random())
                self.disk.stall()
                try:
                    self.others_answer(load)
                    self.cores_go_round(options)
                finally:
                    self.disk.go_on()
            if self.flood_errors:
                raise Violation("the flood: %s" % self.flood_errors[0])
            if early is not None and (reply := early.reply()) != "OK":
                raise Violation("a write that waited for the disk: %s" % reply)
            acked = sum(client.acked() for client in self.sick())
            goes_on = lambda: sum(client.acked() for client in self.sick()) > acked or any(c.error for c in self.clients)
            eventually("the shard goes on with its disk", goes_on)
        load.check()
        if rss.largest > self.RSS_MAX:
            raise Violation("%d MB resident, with memory=192MB" % (rss.largest >> 20))
        with self.server.connect() as connection:
            info = connection.info()
            connection.ask("DEL", "{%s}early" % self.sick()[0].tag, *(self.flood_key(each) for each in range(self.FLOODERS)))
        if info["read_only_shards"] != "0":
            raise Violation("a slow disk made a shard read-only:\n" + self.server.last_words())
        self.verify_both(options, EVER)
        self.server.kill()
        self.start(options)
        self.verify_both(options, EVER)
        self.server.kill()
        self.server.check_log()
        return "%-8s stalled %.1f s  %6d acknowledged, %3d MB resident at most, %s interrupts" % (
            options["sync"],
            stalled_s,
            load.acked(),
            rss.largest >> 20,
            info["watchdog_interrupts"],
        )

    def write_that_waits(self):
        """Sent when the disk stands still, so whoever acknowledges it does so too early."""
        connection = self.server.connect()
        connection.send(encode("SET", "{%s}early" % self.sick()[0].tag, b"x"))
        return connection

    def still_waits(self, early):
        early.socket.settimeout(0.01)
        try:
            data = early.socket.recv(100)
        except TimeoutError:
            early.socket.settimeout(1.0)
            return
        raise Violation("answered while the disk stood still: %r" % data)

    def others_answer(self, load):
        """A few round trips on each of several connections, which are dealt to the cores in turn, while the disk stands still."""
        for each in range(4):
            with Connection(self.server.port) as connection:
                for _ in range(5):
                    key = "{%s}other%d" % (self.healthy()[0].tag, each)
                    for words in (("SET", key, b"x"), ("GET", key), ("DEL", key)):
                        try:
                            reply = connection.ask(*words)
                        except Silence:
                            raise Violation("%s on the other shard is not answered while a disk stands still" % words[0]) from None
                        if isinstance(reply, ReplyError):
                            raise Violation("%s on the other shard: %s" % (words[0], reply))
                connection.info()

    def cores_go_round(self, options):
        """No core's thread is found in the kernel, waiting for a disk, at every look."""
        tasks = "/proc/%d/task" % self.server.process.pid
        waiting = []
        for thread in os.listdir(tasks):
            # Workers of the kernel come and go.
            with contextlib.suppress(OSError), open(os.path.join(tasks, thread, "comm")) as name:
                waiting += [os.path.join(tasks, thread)] if name.read().startswith("core-") else []
        if len(waiting) != SHARDS:
            raise Trouble("%d threads of the server are named like a core's" % len(waiting))
        for _ in range(self.STATE_LOOKS):
            time.sleep(self.STATE_LOOK_S)
            waiting = [thread for thread in waiting if self.of_thread(thread, "stat").rsplit(")", 1)[1].split()[0] == "D"]
        # Under `everysec` it happens, once in 160 stalls: a page of the log that is dirty and write-protected all the same (ARCHITECTURE).
        if waiting and options["sync"] == "always":
            raise Violation("a core's thread waits for the disk:\n" + self.of_thread(waiting[0], "stack"))

    @staticmethod
    def of_thread(thread, name):
        with open(os.path.join(thread, name)) as file:
            return file.read()

    def flood_key(self, each):
        return "{%s}flood%d" % (self.sick()[0].tag, each)

    def flood(self, each):
        try:
            with Connection(self.server.port, 10 * WAITS_MAX) as connection:
                data = encode("SET", self.flood_key(each), os.urandom(self.FLOOD_BYTES))
                for _ in range(self.FLOOD_VALUES):
                    connection.send(data)
                for _ in range(self.FLOOD_VALUES):
                    if (reply := connection.reply()) != "OK":
                        self.flood_errors.append(reply)
                        return
        except (OSError, Silence) as error:
            self.flood_errors.append(repr(error))
