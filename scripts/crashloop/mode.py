"""What all modes share: a directory, a server in it, clients and their oracle, and what is kept when something is found."""

import contextlib
import json
import os
import random
import shutil
import threading
import time

from .load import Load
from .oracle import EVER, NEVER, Client, read_back
from .resp import Violation
from .server import Server

CLIENTS = 8
SHARDS = [1, 2, 2, 3, 4, 7]
# Where a slow thing is waited for, polls are counted, not timed.
POLLS = 400
POLL_S = 0.05


def eventually(what, ask, polls=POLLS):
    """Waits until `ask` answers something true; a violation if it never does."""
    for _ in range(polls):
        if answer := ask():
            return answer
        time.sleep(POLL_S)
    raise Violation("%s: not within %d s" % (what, polls * POLL_S))


class Mode:
    """One mode. `round` raises Violation or Trouble, or answers a line of what it did."""

    name = ""
    rounds_full = 1
    syncs = ["always", "always", "everysec", "everysec", "no"]

    def __init__(self, args, home):
        self.args, self.home = args, home
        self.rng = random.Random("%d %s" % (args.seed, self.name))
        self.server, self.clients, self.directories = None, [], 0
        self.writes = 0

    @classmethod
    def probe(cls, home):
        """Raises Skip if the machine lacks something."""

    def new_clients(self, count=CLIENTS, tag_of=lambda number: None):
        self.clients = [Client(number, tag_of(number)) for number in range(count)]

    def new_server(self, data_dir, wrap=()):
        log = os.path.join(self.home, "log%d" % self.directories)
        self.server = Server(self.args.binary, data_dir, log, self.args.ports, wrap)

    def sync(self):
        wanted = self.args.sync.split(",") if self.args.sync else self.syncs
        return self.rng.choice(wanted)

    def start(self, options):
        self.server.start(options)
        self.server.wait_ready()

    def load(self, **how):
        return Load(self.server.port, self.clients, self.rng, **how)

    def must_until(self, sync, cut=EVER):
        """Up to which moment acknowledgements count after a kill."""
        return NEVER if sync == "no" else cut

    def verify(self, sync, until=EVER, settle=True):
        with self.server.connect() as connection:
            found = read_back(connection, self.clients)
        for client in self.clients:
            client.verify(found[client.number], sync, until)
        self.writes += sum(client.acked() for client in self.clients)
        if settle:
            for client in self.clients:
                client.settle(found[client.number])
        return found

    def verify_again(self, options, found):
        """A second restart, clean or not, answers the same."""
        (self.server.terminate if self.rng.random() < 0.5 else self.server.kill)()
        self.start(options)
        with self.server.connect() as connection:
            if read_back(connection, self.clients) != found:
                raise Violation("a second restart answers differently")

    def keep_image(self):
        """What the harm left behind, before recovery changes it: the evidence."""
        image = os.path.join(self.home, "image")
        shutil.rmtree(image, ignore_errors=True)
        walk = list(os.walk(self.server.data_dir))
        size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in walk for name in names)
        if size <= self.args.image_mb << 20:
            shutil.copytree(self.server.data_dir, image)

    def checked(self):
        """What the rounds have looked at, for the summary."""
        return "%d acknowledged writes checked" % self.writes

    def keep_evidence(self):
        with open(os.path.join(self.home, "oracle.json"), "w") as out:
            json.dump([client.evidence() for client in self.clients], out)
        if self.server is not None and os.path.isdir(self.server.data_dir):
            kept = os.path.join(self.home, "found")
            if not os.path.exists(kept):
                with contextlib.suppress(OSError, shutil.Error):  # files vanish beside it, or cannot be read
                    shutil.copytree(self.server.data_dir, kept, ignore_dangling_symlinks=True)

    def close(self):
        """Ends what runs. The caller removes `home`."""
        if self.server is not None:
            self.server.kill()


class Watcher(threading.Thread):
    """Looks at something now and then, beside the rest; keeps the largest answer."""

    def __init__(self, look, every_s=0.05):
        super().__init__()
        self.look, self.every_s = look, every_s
        self.stopped, self.largest = threading.Event(), 0
        self.start()

    def run(self):
        while not self.stopped.wait(self.every_s):
            try:
                self.largest = max(self.largest, self.look())
            except (OSError, IndexError, ValueError):
                pass  # it has ended

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()
