"""kill: SIGKILL at a random moment, often again while it recovers; every key is read back under new options.

One round: a new or the same data directory, new options (sync, memtable size; for a new directory the number of shards); eight
clients; SIGKILL; a start, perhaps killed as well, up to four times; what is there is checked; sometimes a second restart.
"""

import os
import shutil
import time

from .mode import SHARDS, Mode
from .resp import Violation


class Kill(Mode):
    name = "kill"
    rounds_full = 500

    def __init__(self, args, home):
        super().__init__(args, home)
        self.shards, self.starts_killed = None, 0

    def new_directory(self):
        if self.server is not None:
            shutil.rmtree(self.server.data_dir)
        self.directories += 1
        self.new_server(os.path.join(self.home, "d%d" % self.directories))
        self.new_clients()
        self.shards = self.rng.choice(SHARDS)

    def options(self):
        memtable = int(self.rng.choice(self.args.memtable_kb.split(","))) * self.shards
        return {"sync": self.sync(), "shards": self.shards, "memtable": "%dKB" % memtable}

    def kill_while_starting(self, options):
        for _ in range(self.rng.choice([0, 0, 1, 2, 4])):
            self.server.start(options)
            time.sleep(self.rng.choice([0.0, 0.005, 0.02, 0.05, 0.1, 0.3]) * self.rng.random() * 2)
            if self.server.ended() is not None and not self.server.lost_its_port():
                raise Violation("the server ended at start with code %d:\n%s" % (self.server.ended(), self.server.last_words()))
            self.server.kill()
            self.starts_killed += 1

    def round(self, number):
        if self.server is None or self.rng.random() < 0.3:
            self.new_directory()
        options = self.options()
        self.kill_while_starting(options)
        self.start(options)
        load = self.load()
        # Mostly short, sometimes long enough for flushes, compactions and segment changes.
        time.sleep(0.02 + self.rng.random() ** 2 * self.args.load)
        died = self.server.ended()
        self.server.kill()
        load.join()
        if died is not None:
            raise Violation("the server ended by itself with code %d:\n%s" % (died, self.server.last_words()))
        load.check()
        self.keep_image()
        acked, still_open = load.acked(), sum(client.still_open() for client in self.clients)

        after = self.options()
        self.kill_while_starting(after)
        self.start(after)
        found = self.verify(options["sync"], self.must_until(options["sync"]))
        if self.rng.random() < 0.4:
            self.verify_again(after, found)
        self.server.kill()
        self.server.check_log()
        return "dir %2d  %-8s shards %d memtable %-7s  %6d acknowledged, %3d open, %d starts killed so far" % (
            self.directories,
            options["sync"],
            self.shards,
            options["memtable"],
            acked,
            still_open,
            self.starts_killed,
        )
