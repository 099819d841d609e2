"""power: the disk, an ext4 or an xfs, goes away between two writes, without a flush of its journal; then it is mounted again.

What was not synced is gone, and what was renamed, created or removed without a sync of its directory is undone. Only what was
acknowledged before the cut counts: a sync that overlaps it may answer without its data. Under `always` that is all of it; under
`everysec` all that is older than the window, one second and one sync; under `no` nothing but the prefix is promised.

A cut on a loop device does not lose what was written past the page cache and not flushed: a missing flush on an overwrite does not
show here.
"""

import os
import time

from .mode import Mode
from .oracle import NEVER
from .resp import Skip, Violation
from .rig import MAKERS, Disk, need_mounts

SIZE_MB = 512
# A sync on this disk takes 0.1 s at most when the machine is not loaded; the rest is for one that is.
WINDOW_S = 1.0 + 0.75


class Power(Mode):
    name = "power"
    rounds_full = 300
    syncs = ["always", "everysec"]

    def __init__(self, args, home):
        super().__init__(args, home)
        self.disk, self.shards = None, None
        self.kinds = [kind for kind in MAKERS if self.is_here(kind)]

    @classmethod
    def probe(cls, home):
        need_mounts(home)

    def is_here(self, kind):
        if self.args.fs not in (None, kind):
            return False
        try:
            need_mounts(self.home, kind)
        except Skip as why:
            print("power: without %s: %s" % (kind, why), flush=True)
            return False
        return True

    def new_directory(self):
        if not self.kinds:
            raise Skip("none of its file systems is here")
        if self.disk is not None:
            self.disk.close()
        self.directories += 1
        self.disk = Disk(os.path.join(self.home, "disk%d" % self.directories), SIZE_MB, kind=self.rng.choice(self.kinds))
        self.disk.attach()
        self.new_server(os.path.join(self.disk.path, "data"))
        self.new_clients()
        self.shards = self.rng.choice([1, 2, 3])

    def options(self):
        memtable = self.rng.choice([64, 256, 1024, 4096]) * self.shards
        return {"sync": self.sync(), "shards": self.shards, "memtable": "%dKB" % memtable, "set": ["wal_segment_size=%dMB" % self.rng.choice([1, 2, 16])]}

    def must_until(self, sync, cut):
        judged = self.args.judge or sync
        return {"always": cut, "everysec": cut - WINDOW_S, "no": NEVER}[judged]

    def reboot(self):
        self.server.kill()
        self.disk.detach()
        self.disk.attach()

    def round(self, number):
        if self.disk is None or self.rng.random() < 0.2:
            self.new_directory()
        options = self.options()
        self.start(options)
        load = self.load(silence_is_allowed=True)
        patience = self.args.load if options["sync"] == "always" else 2 * self.args.load
        time.sleep(0.02 + self.rng.random() ** 2 * patience)
        quiet = options["sync"] == "everysec" and self.rng.random() < 0.4
        if quiet:
            # Nobody writes: what was written must become durable all the same.
            load.idle.set()
            time.sleep(WINDOW_S + 0.05 + self.rng.random() / 2)
        died = self.server.ended()
        cut = time.monotonic()
        self.disk.cut()
        if died is not None:
            raise Violation("the server ended by itself with code %d:\n%s" % (died, self.server.last_words()))
        self.server.kill()
        load.stop()
        # Errors after the cut are no finding; before it they are.
        for client in self.clients:
            if client.error and client.error_at < cut:
                raise client.error
            client.error = None
        self.reboot()
        self.keep_image()
        until = self.must_until(options["sync"], cut)
        counted = sum(command.counts(until) for client in self.clients for command in client.log)
        acked = load.acked()

        # Sometimes the power fails again while it recovers.
        for _ in range(self.rng.choice([0, 0, 0, 1, 2])):
            self.server.start(options)
            time.sleep(self.rng.random() * 0.15)
            self.disk.cut()
            self.reboot()
        self.start(options)
        found = self.verify(self.args.judge or options["sync"], until)
        if self.rng.random() < 0.3:
            self.verify_again(options, found)
        self.server.kill()
        self.server.check_log()
        return "disk %2d  %-4s  %-8s shards %d memtable %-7s  %6d acknowledged, %6d of them must be there%s" % (
            self.directories,
            self.disk.kind,
            options["sync"],
            self.shards,
            options["memtable"],
            acked,
            counted,
            ", quiet before the cut" if quiet else "",
        )

    def close(self):
        super().close()
        if self.disk is not None:
            self.disk.close()
