"""Named checks, one after the other; the last line says how many passed.

What a check prints is read by `run`: `ok NAME`, `lacking NAME: command` (the server does not know the command), or
`FAILED NAME: why`. The exit code is 1 if any failed.
"""

import os
import re
import socket
import sys

PORT = int(os.environ["PORT"])
CHECKS = []

LACKING = re.compile(r"unknown (?:sub)?command '?([^',.]*)", re.IGNORECASE)


def check(function):
    CHECKS.append(function)
    return function


def same(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


def restart_server():
    """Ends the server politely and starts it again with its data; returns when it answers."""
    with socket.create_connection(("127.0.0.1", int(os.environ["CONTROL"]))) as control:
        control.sendall(b"restart\n")
        answer = control.makefile().readline()
    assert answer == "done\n", answer


def run_all(prefix, *arguments):
    counts = {"ok": 0, "lacking": 0, "FAILED": 0}
    for function in CHECKS:
        name = f"{prefix}{function.__name__}"
        try:
            function(*arguments)
        except Exception as error:  # Whatever goes wrong is the check's result.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            lacking = LACKING.search(text)
            if lacking:
                counts["lacking"] += 1
                print(f"lacking {name}: {lacking.group(1).lower()}")
            else:
                counts["FAILED"] += 1
                print(f"FAILED {name}: {text[:150]} .. {text[-150:]}" if len(text) > 310 else f"FAILED {name}: {text}")
        else:
            counts["ok"] += 1
            print(f"ok {name}")
    sys.stdout.flush()
    return counts["FAILED"] == 0
