"""The command line: which modes, how many rounds, what is printed, what is kept."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import oracle
from .enospc import Enospc
from .kill import Kill
from .power import Power
from .scarce import Fds, Mem, Pause
from .sick import Eio, Slow
from .sim import Sim
from .resp import Silence, Skip, Trouble, Violation
from .rig import MAKERS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODES = [Sim, Kill, Power, Enospc, Eio, Slow, Fds, Mem, Pause]
FOUND, COULD_NOT, SKIPPED = 1, 2, 77


class Outcome:
    def __init__(self, mode, code, text):
        self.mode, self.code, self.text = mode, code, text


def run_mode(kind, args, rounds):
    """Runs one mode; answers its Outcome. Leaves nothing mounted, and files only when something was found."""
    home = tempfile.mkdtemp(prefix="crash-loop-%s-" % kind.name, dir=args.dir)
    try:
        kind.probe(home)
    except Skip as lack:
        shutil.rmtree(home)
        return Outcome(kind.name, SKIPPED, "SKIPPED: %s" % lack)
    print("== %s: %d rounds, seed %d" % (kind.name, rounds, args.seed), flush=True)
    began, number, keep = time.monotonic(), 0, False
    mode = kind(args, home)
    try:
        for number in range(1, rounds + 1):
            line = mode.round(number)
            print("%s %3d  %s" % (kind.name, number, line), flush=True)
        text = "%d rounds, %s, %d s: no violation" % (number, mode.checked(), time.monotonic() - began)
        return Outcome(kind.name, 0, text)
    except (Violation, Silence, subprocess.TimeoutExpired) as error:
        keep = True
        mode.keep_evidence()
        again = "scripts/crash-loop %s --rounds %d --seed %d" % (kind.name, number, args.seed)
        text = "VIOLATION in round %d: %s\nkept in %s: data directory, image/ (before recovery), log*, oracle.json\nagain: %s"
        return Outcome(kind.name, FOUND, text % (number, error, home, again))
    except Skip as lack:
        return Outcome(kind.name, SKIPPED, "SKIPPED in round %d: %s" % (number, lack))
    except Trouble as error:
        keep = True
        return Outcome(kind.name, COULD_NOT, "round %d could not run: %s\nkept: %s" % (number, error, home))
    finally:
        try:
            mode.close()
        finally:
            if not keep:
                shutil.rmtree(home, ignore_errors=True)


def arguments(doc):
    names = [kind.name for kind in MODES]
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", metavar="MODE", help="of %s; check-oracle; default kill" % ", ".join(names))
    parser.add_argument("--full", action="store_true", help="every mode (or those named) with the counts that a release asks for")
    parser.add_argument("--rounds", type=int, help="rounds of each mode; default 100")
    parser.add_argument("--seed", type=int, default=None, help="default: by the clock, printed")
    parser.add_argument("--binary", help="default: target/release/rusty-lsm, built if need be")
    parser.add_argument("--dir", help="where the data directories go; default target/, so that they lie on a real disk")
    parser.add_argument("--load", type=float, default=2.0, help="longest load of a round, in seconds")
    parser.add_argument("--memtable-kb", default="64,256,1024,4096", help="kill: sizes to draw from, in KB for each shard")
    parser.add_argument("--sync", help="policies to draw from, instead of the mode's own")
    parser.add_argument("--judge", choices=["always", "everysec", "no"], help="power: judge by this policy's promise (a check of the check)")
    parser.add_argument("--fs", choices=list(MAKERS), help="power: this file system instead of each that is here")
    parser.add_argument("--ports", default="20000-31999", help="range of the server's port")
    parser.add_argument("--image-mb", type=int, default=256, help="largest directory that is copied as evidence before recovery")
    args = parser.parse_args()
    for name in args.modes:
        if name not in names + ["check-oracle"]:
            parser.error("no mode %r; there are: %s" % (name, ", ".join(names + ["check-oracle"])))
    first, _, last = args.ports.partition("-")
    args.ports = (int(first), int(last or first) + 1)
    args.seed = int(time.time()) if args.seed is None else args.seed
    return args


def find_binary(args):
    if args.binary is None:
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
        args.binary = os.path.join(ROOT, "target", "release", "rusty-lsm")
    if shutil.which(args.binary) is None:
        print("crash-loop: no program at %s" % args.binary, file=sys.stderr)
        sys.exit(COULD_NOT)
    args.binary = os.path.abspath(shutil.which(args.binary))


def main(doc):
    args = arguments(doc)
    if args.modes == ["check-oracle"]:
        return oracle.check()
    # What is mounted is unmounted also when someone ends the loop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    args.dir = args.dir or os.path.join(ROOT, "target")
    os.makedirs(args.dir, exist_ok=True)
    wanted = args.modes or ([kind.name for kind in MODES] if args.full else ["kill"])
    if wanted != [Sim.name]:
        find_binary(args)
    print("%s, modes: %s" % (args.binary or "the tests of the engine", " ".join(wanted)), flush=True)
    outcomes = []
    for kind in (kind for kind in MODES if kind.name in wanted):
        rounds = args.rounds or (kind.rounds_full if args.full else 100)
        outcome = run_mode(kind, args, rounds)
        print("%s: %s" % (outcome.mode, outcome.text), file=sys.stderr if outcome.code else sys.stdout, flush=True)
        outcomes.append(outcome)
    codes = {outcome.code for outcome in outcomes}
    if len(outcomes) > 1:
        print("\n== summary (seed %d)" % args.seed)
        for outcome in outcomes:
            print("%-8s %s" % (outcome.mode, outcome.text.split("\n")[0]))
    # The worst first; a skipped mode is no success, and told apart from one.
    return next((code for code in (FOUND, COULD_NOT, SKIPPED) if code in codes), 0)
