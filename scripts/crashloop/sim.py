"""sim: the engine alone, on a disk in memory that can be stopped between any two operations.

The tests of `shard/src/tests` in full: each round is one seed, with the sync policies in turn: 2000 steps, a crash of every kind at both ends
of every operation of the disk, and one more in the recovery: five minutes of a core. As many seeds at a time as there are cores. Before
the first round, once: each operation failing in each way, each byte of each file damaged, the model, and one list of operations under
many configurations.
"""

import concurrent.futures
import json
import os
import re
import subprocess

from .mode import Mode
from .resp import Trouble, Violation

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICIES = ["always", "everysec", "no"]
OPERATIONS = 2000
CORES = os.cpu_count() or 1
# Random lists for those tests that have no places to go through.
LISTS = 200
ONCE = [
    ("tests::failure", {"SIM_EVERY": 1, "SIM_SEEDS": 3}),
    ("tests::damage", {"SIM_EVERY": 1}),
    ("tests::metamorphic", {"SIM_SEEDS": LISTS}),
    ("tests::model", {"SIM_SEEDS": LISTS}),
    ("tests::policies", {"SIM_EVERY": 1, "SIM_SEEDS": 20}),
]


# Twice as fast as what `cargo test` builds. Every assertion is on: the engine has none that are for debugging only.
PROFILE = ["opt-level=2", "debug-assertions=false", "overflow-checks=true", 'package."*".opt-level=3', "package.shard.opt-level=2"]


def build():
    """The test program, optimised."""
    command = ["cargo", "test", "--locked", "-q", "-p", "shard", "--features", "sim", "--lib", "--no-run"]
    command += [word for setting in PROFILE for word in ("--config", "profile.dev.%s" % setting)]
    done = subprocess.run(command + ["--message-format=json"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [message["executable"] for message in messages if message.get("executable")]
    if done.returncode or not programs:
        raise Trouble("the tests do not build: cargo ended with %d" % done.returncode)
    return programs[-1]


class Sim(Mode):
    name = "sim"
    rounds_full = 50

    def __init__(self, args, home):
        super().__init__(args, home)
        self.program, self.crashes, self.starts = None, 0, 0
        self.rounds = args.rounds or (self.rounds_full if args.full else 100)
        self.pool, self.running = concurrent.futures.ThreadPoolExecutor(CORES), {}

    def test(self, name, effort):
        """Runs tests; answers what they say that they did."""
        env = dict(os.environ, **{key: str(value) for key, value in effort.items()})
        command = [self.program, "--nocapture", "--test-threads", "1", name]
        done = subprocess.run(command, cwd=os.path.join(ROOT, "shard"), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = done.stdout.decode(errors="replace")
        if done.returncode or not re.search(r"test result: ok\. [1-9]", output):
            path = os.path.join(self.home, "log-%s-%s" % (name.replace("::", "-"), effort.get("SIM_SEED", "all")))
            with open(path, "w", encoding="utf-8") as file:
                file.write(output)
            raise Violation("%s with %s: see %s" % (name, effort, path))
        return re.findall(r"(?:\.\.\. )?([^\n]*: no violation)", output)

    def all_of(self, tests):
        return [line for lines in self.pool.map(lambda test: self.test(*test), tests) for line in lines]

    def seed(self, seed):
        policy = POLICIES[seed % len(POLICIES)]
        effort = {"SIM_SEED": seed, "SIM_OPS": OPERATIONS, "SIM_EVERY": 1}
        (line,) = self.test("tests::crash::after_every_operation_under_%s" % policy, effort)
        counts = re.search(r"(\d+) operations of the disk, (\d+) crashes, (\d+) starts", line).groups()
        return (policy, *map(int, counts))

    def round(self, number):
        if number == 1:
            self.program = build()
            for line in self.all_of(ONCE):
                print("sim   -  %s" % line, flush=True)
        for ahead in range(number, min(number + CORES, self.rounds + 1)):
            if ahead not in self.running:
                self.running[ahead] = self.pool.submit(self.seed, self.args.seed + ahead - 1)
        policy, operations, crashes, starts = self.running.pop(number).result()
        self.crashes += crashes
        self.starts += starts
        return "seed %d, %s: %d operations of the disk, %d crashes, %d starts on different disks" % (
            self.args.seed + number - 1,
            policy,
            operations,
            crashes,
            starts,
        )

    def checked(self):
        return "%d crashes, %d starts on different disks" % (self.crashes, self.starts)

    def keep_evidence(self):
        """The outputs are in the home already, with the line that replays each."""
