"""The project's own load generator, examples/load: built, run, and its figures read."""

import json
import os
import subprocess
import tempfile

from .machine import CannotMeasure, release_build


def build(args):
    """Sets `args.load`."""
    if args.load is None:
        args.load = release_build(["--example", "load"], os.path.join("examples", "load"))
    if not os.access(args.load, os.X_OK):
        raise CannotMeasure("no program at %s" % args.load)


def command(args, port, words):
    return [args.load, "--port", str(port)] + [str(word) for word in words]


def run(args, server, words, quiet=True):
    """One run: what its JSON says, with the CPU of `server` (None: not ours to watch) in us a request."""
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        words = command(args, server.port, list(words) + ["--json", figures.name])
        watched = server.process is not None
        before = server.cpu_seconds() if watched else 0
        done = subprocess.run(words, stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise CannotMeasure("%s\nended with code %d: %s" % (" ".join(words), done.returncode, done.stderr))
        found = json.load(figures)
        cpu = server.cpu_seconds() - before if watched else 0
    all_requests = found["requests"] + found["warmup_requests"] + found["error_count"]
    found["server_cpu_us"] = cpu * 1e6 / max(1, all_requests)
    if found["error_count"]:
        first = found["errors"][0]
        raise CannotMeasure("%s\n%d errors, the first: %s" % (" ".join(words), found["error_count"], first["first"]))
    return found


def figures(found):
    """The row of all kinds of requests, flat."""
    row = found["rows"][-1]
    return {
        "rate": found["rate"],
        "cpu_us": found["server_cpu_us"],
        "client_us": found["client_cpu_us"],
        "p50": row["p50_us"] / 1e3,
        "p99": row["p99_us"] / 1e3,
        "p999": row["p999_us"] / 1e3,
        "max": row["max_us"] / 1e3,
    }
