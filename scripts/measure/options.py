"""Options of scripts/bench: each with the value that --quick has instead, each checked while it is read."""

import argparse
from typing import Any, Callable, NamedTuple

SYNC_POLICIES = ("everysec", "always", "no")


class Option(NamedTuple):
    name: str
    kind: Callable[[str], Any]
    default: Any
    # What --quick has instead, where nothing is said.
    quick: Any
    help: str


def whole(text):
    """A whole number from 1."""
    return _number(int, text, "a whole number from 1", lambda value: value >= 1)


def positive(text):
    """A number above 0."""
    return _number(float, text, "a number above 0", lambda value: 0 < value < 1e9)


def seconds(text):
    """Seconds, 0 too."""
    return _number(float, text, "a number of seconds", lambda value: 0 <= value < 1e6)


def share(text):
    """A part of the whole."""
    return _number(float, text, "above 0 and at most 1", lambda value: 0 < value <= 1)


def sync(text):
    if text not in SYNC_POLICIES:
        raise argparse.ArgumentTypeError("%r is none of %s" % (text, ", ".join(SYNC_POLICIES)))
    return text


def whole_list(text):
    """Whole numbers from 1, rising, as 1,2,4."""
    found = [whole(part) for part in text.split(",")]
    if found != sorted(set(found)):
        raise argparse.ArgumentTypeError("%r does not rise: it is a list such as 1,2,4" % text)
    return found


def _number(kind, text, wanted, is_right):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not is_right(value):
        raise argparse.ArgumentTypeError("%r is not %s" % (text, wanted))
    return value


CLIENTS = Option("--clients", whole, 50, 50, "connections in all")
KEYS = Option("--keys", whole, 1_000_000, 100_000, "keys, all of them there before anything is measured")
VALUE_BYTES = Option("--value-bytes", whole, 100, 100, "bytes of a value")
SYNC = Option("--sync", sync, "everysec", "everysec", "when a write is acknowledged: " + ", ".join(SYNC_POLICIES))
RUNS = Option("--runs", whole, 3, 1, "runs, of which the median is shown")
THREADS = Option("--threads", whole, 1, 1, "threads of the load generator")
DEPTH = Option("--depth", whole, 16, 16, "requests that a client sends together")

# Of every mode.
COMMON = [
    Option("--binary", str, None, None, "the server; default: target/release/rusty-lsm, built if need be"),
    Option("--dir", str, None, None, "where the data directories go; default target/, so that they lie on a real disk"),
    Option("--json", str, None, None, "all figures, also to this file: scripts/bench-table makes a table of such files"),
    Option("--server-args", str, "", "", "further words for rusty-lsm"),
]
LOAD = Option("--load", str, None, None, "the load generator; default: examples/load, built if need be")


def add(parser, options, is_quick):
    for option in options:
        default = option.quick if is_quick else option.default
        shown = default
        if isinstance(default, list):
            shown = ",".join(str(part) for part in default)
        words = option.help if shown in (None, "") else "%s [default: %s]" % (option.help, shown)
        parser.add_argument(option.name, type=option.kind, default=default, metavar="X", help=words.replace("%", "%%"))
