"""The machine: is it quiet, what is it, which commit runs on it."""

import os
import platform
import resource
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICKS = os.sysconf("SC_CLK_TCK")
# More than this share of one core used by others spoils a measurement.
BUSY_PERCENT = 8
SPARE_DESCRIPTORS = 200


class CannotMeasure(Exception):
    pass


def process_ticks():
    """CPU ticks so far and name of every process."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as stat:
                text = stat.read()
            name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
            found[int(pid)] = (int(fields[11]) + int(fields[12]), name)
        except (OSError, ValueError):
            continue
    return found


def what_is_busy(seconds=2.0):
    """Processes that use the machine: [(percent of a core, pid, name)]."""
    before = process_ticks()
    time.sleep(seconds)
    busy = []
    for pid, (ticks, name) in process_ticks().items():
        percent = 100.0 * (ticks - before.get(pid, (ticks, name))[0]) / TICKS / seconds
        if percent >= 1.0 and pid != os.getpid():
            busy.append((percent, pid, name))
    return sorted(busy, reverse=True)


def refuse_if_busy(args):
    """Sets `args.busy` to what uses the machine, as text, or to nothing."""
    busy = what_is_busy()
    total = sum(percent for percent, _, _ in busy)
    args.busy = ""
    if total < BUSY_PERCENT:
        return
    args.busy = "others use %.0f %% of a core" % total
    print("busy: %s:" % args.busy, file=sys.stderr)
    for percent, pid, name in busy[:10]:
        print("  %5.1f %%  %s (%d)" % (percent, name, pid), file=sys.stderr)
    if not args.force:
        raise CannotMeasure("the machine is busy; wait, or measure all the same with --force")


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "?"


def describe_machine(args):
    """Says where figures come from, and gives it back for the JSON file."""
    model = "?"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0))
    found = {
        "machine": "%s, %d core%s, Linux %s" % (model, cores, "" if cores == 1 else "s", platform.release()),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": commit(),
        "busy": args.busy,
        "quick": args.quick,
        # Another's binary may be of another commit.
        "is_built_here": args.is_built_here,
        "server": version(args.binary),
        "redis": version("redis-server") if shutil.which("redis-server") else None,
    }
    print("%s; data in %s" % (found["machine"], args.dir))
    print("%s, commit %s%s%s%s" % (
        found["date"], found["commit"], "" if args.is_built_here else ", server by --binary", ", QUICK" if args.quick else "", ", MACHINE BUSY" if args.busy else ""))
    print("%s; %s" % (found["server"], found["redis"] or "no redis-server"), flush=True)
    return found


def version(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip().split("\n")[0]


def release_build(words, program):
    """Builds with `cargo build --release`, and gives the path of `program` in the folder of that build."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    subprocess.run(["cargo", "build", "--release", "--locked"] + words, cwd=ROOT, check=True)
    return os.path.join(target, "release", program)


def built_server():
    return release_build([], "rusty-lsm")


def need_files(option, count):
    """`count` connections of our own, and what a run has open beside them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_DESCRIPTORS
    if hard < wanted:
        raise CannotMeasure("%s %d: only %d open files are allowed" % (option, count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def need(program, otherwise="no program at %s"):
    if shutil.which(program) is None:
        raise CannotMeasure(otherwise % program)
