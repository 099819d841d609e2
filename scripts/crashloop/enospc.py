"""enospc: the file system is filled from beside, of bytes or of inodes, and freed again, while clients write.

While it is full: writes are refused with the one error that says so, reads and deletes are answered, nobody is left without an
answer, no shard turns read-only. Once it is free again: writes are taken without a restart. Sometimes the server is killed while
the disk is full; a start on a full disk serves, or says what is missing. Nothing acknowledged is lost, and what was refused is
not there.
"""

import os
import re
import time

from .mode import Mode, eventually
from .oracle import make_value
from .resp import ReplyError, Violation
from .rig import Disk, need_mounts

SIZE_MB = 64
REFUSAL = re.compile(r"MISCONF disk full: \S+ has \d+ bytes free, the reserve is \d+(, but .*)?; free some space, writes resume by themselves$")
# Deletes that are tried on the full disk: more than two segments of the log have room for, each with a block of its own.
DELETES = 1200
DELETES_MIN = 1
# Start on a full disk: what it may say before it ends.
NO_SPACE = re.compile(r"No space left on device|disk full", re.IGNORECASE)


def refusal(text):
    return True if REFUSAL.match(text) else None


class Enospc(Mode):
    name = "enospc"
    rounds_full = 40

    def __init__(self, args, home):
        super().__init__(args, home)
        self.disk = None

    @classmethod
    def probe(cls, home):
        need_mounts(home)

    def new_directory(self):
        if self.disk is not None:
            self.disk.close()
        self.directories += 1
        self.kind = self.rng.choice(["bytes", "bytes", "inodes"])
        mkfs = ["-N", "512"] if self.kind == "inodes" else []
        self.disk = Disk(os.path.join(self.home, "disk%d" % self.directories), SIZE_MB, mkfs)
        self.disk.attach()
        self.new_server(os.path.join(self.disk.path, "data"))
        self.new_clients()
        self.shards = self.rng.choice([1, 1, 2, 3])

    def options(self):
        small = ["table_size=1MB", "wal_segment_size=1MB", "wal_capacity=4MB", "compaction_thresholds.level_base_bytes=1MB"]
        memtable = self.rng.choice([64, 256]) * self.shards
        return {"sync": self.sync(), "shards": self.shards, "memtable": "%dKB" % memtable, "set": small}

    def ballast(self):
        return os.path.join(self.disk.path, "ballast")

    def fill(self):
        """Takes all that is left: others may do so at any moment."""
        if self.kind == "inodes":
            os.makedirs(self.ballast(), exist_ok=True)
            try:
                for number in range(1 << 20):
                    open(os.path.join(self.ballast(), str(time.monotonic_ns())), "x").close()
            except OSError:
                return
        for piece in (1 << 20, 1 << 16, 1 << 12):
            with open(self.ballast(), "ab", buffering=0) as ballast:
                try:
                    while ballast.write(b"x" * piece) == piece:
                        os.fsync(ballast.fileno())
                except OSError:
                    pass

    def free(self):
        if self.kind == "inodes":
            for name in os.listdir(self.ballast()):
                os.remove(os.path.join(self.ballast(), name))
        else:
            os.remove(self.ballast())

    def round(self, number):
        if self.disk is None or self.rng.random() < 0.3:
            self.new_directory()
        options = self.options()
        self.start(options)
        self.fillers = [b"filler%d:%d" % (number, each) for each in range(DELETES)]
        with self.server.connect() as connection:
            for key in self.fillers:
                if isinstance(reply := connection.ask("SET", key, b"x"), ReplyError):
                    raise Violation("SET before the disk is full: %s" % reply)
        load = self.load(refusal=refusal)
        with load:
            time.sleep(0.1 + self.rng.random())
            self.deleted_before = load.deletes_acked
            self.fill()
            full_is_known = lambda: load.refused or any(client.error for client in self.clients)
            eventually("a write is refused on the full disk", full_is_known)
            load.check()
            self.while_full(load)
            killed = self.rng.random() < 0.3
            if killed:
                self.server.kill()
                load.join()
                text = self.start_on_full_disk(options)
            else:
                # Others fill up what compaction gives back.
                for _ in range(self.rng.choice([0, 5, 40])):
                    self.fill()
                    time.sleep(0.05)
                text = "%d refused, %d reads, %d deletes" % (load.refused, load.reads, load.deletes_acked)
            self.free()
            if killed:
                if self.server.ended() is not None:
                    self.start(options)
            self.until_taken("a write is taken once there is space")
            if not killed:
                more = load.acked() + len(load.clients)
                eventually("the clients' writes are taken again", lambda: load.acked() > more or any(c.error for c in self.clients))
        load.check()
        self.no_shard_is_read_only()
        if not killed:
            # As it runs, and as it comes back.
            self.delete_fillers()
            self.verify(options["sync"], settle=False)
        self.server.kill()
        self.keep_image()
        self.start(options)
        self.delete_fillers()
        self.verify(options["sync"], self.must_until(options["sync"]))
        self.server.kill()
        self.server.check_log()
        return "disk %2d full of %-6s %-8s shards %d: %s%s" % (
            self.directories,
            self.kind,
            options["sync"],
            self.shards,
            text,
            ", killed while full" if killed else "",
        )

    def while_full(self, load):
        with self.server.connect() as connection:
            # Others do not wait until the server has noticed.
            self.fill()
            for client in self.clients:
                connection.ask("GET", client.name(0))
            deleted, reply = 0, None
            for key in self.fillers:
                reply = connection.ask("DEL", key)
                if isinstance(reply, ReplyError):
                    # The log may have no room left even for deletes: but then it says so.
                    if refusal(reply) is None:
                        raise Violation("DEL on a full disk: %s" % reply)
                    break
                deleted += 1
            # The clients' own deletes share what room there is.
            deleted += load.deletes_acked - self.deleted_before
            if deleted < DELETES_MIN:
                raise Violation("only %d deletes were taken on a full disk: %s" % (deleted, reply))
            if not isinstance(connection.ask("GET", b"probe"), (bytes, type(None))):
                raise Violation("GET on a full disk fails")
            if connection.info()["read_only_shards"] != "0":
                raise Violation("a full disk made a shard read-only:\n" + self.server.last_words())

    def until_taken(self, what):
        def taken():
            with self.server.connect() as connection:
                reply = connection.ask("SET", b"probe", make_value(99, 0, 1, 10))
            if isinstance(reply, ReplyError) and refusal(reply) is None:
                raise Violation("SET once there is space: %s" % reply)
            return reply == "OK"

        eventually(what, taken)

    def delete_fillers(self):
        def deleted():
            with self.server.connect() as connection:
                reply = connection.ask("DEL", *self.fillers, b"probe")
            # A shard that still believes the disk to be full may have no room for so many.
            if isinstance(reply, ReplyError) and refusal(reply) is None:
                raise Violation("DEL once there is space: %s" % reply)
            return not isinstance(reply, ReplyError)

        eventually("deletes are taken once there is space", deleted)

    def start_on_full_disk(self, options):
        self.server.start(options)
        if self.server.is_ready():
            return "a start on the full disk serves"
        if not NO_SPACE.search(self.server.last_words()):
            raise Violation("a start on a full disk ends with code %d and says:\n%s" % (self.server.ended(), self.server.last_words()))
        return "a start on the full disk says so"

    def no_shard_is_read_only(self):
        with self.server.connect() as connection:
            info = connection.info()
        if info["read_only_shards"] != "0":
            raise Violation("a shard is read-only:\n" + self.server.last_words())

    def close(self):
        super().close()
        if self.disk is not None:
            self.disk.close()
