"""A server to be measured: started on a fresh directory, watched through /proc, stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .machine import TICKS, CannotMeasure

READY_WITHIN_S = 300
SETTLED_WITHIN_S = 600


def free_port():
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise CannotMeasure("no free port")


def answers_ping(connection):
    connection.sendall(b"PING\r\n")
    return connection.recv(100).startswith(b"+PONG")


class Server:
    """A running server and its data directory."""

    def __init__(self, program, sync, home, extra=()):
        self.program, self.sync, self.extra = program, sync, list(extra)
        self.home = home
        self.data_dir = os.path.join(home, "d")
        self.redis = os.path.basename(program) == "redis-server"
        self.process = None

    def words(self):
        if self.redis:
            words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.data_dir, "--save", ""]
            return words + ["--appendonly", "yes", "--appendfsync", self.sync]
        return ["start", "--port", str(self.port), "--data-dir", self.data_dir, "--sync", self.sync] + self.extra

    def start(self, is_ready=None, poll_s=0.01):
        """Seconds until it answers PING, or until `is_ready` with a connection to it says so, asked again and again."""
        self.port = free_port()
        if self.redis:
            os.makedirs(self.data_dir, mode=0o700, exist_ok=True)
        began = time.monotonic()
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.process = subprocess.Popen([self.program] + self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            if self.process.poll() is not None:
                raise CannotMeasure("%s ended at start:\n%s" % (self.program, self.last_words()))
            if time.monotonic() - began > READY_WITHIN_S:
                raise CannotMeasure("%s is not ready:\n%s" % (self.program, self.last_words()))
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=READY_WITHIN_S) as probe:
                    if (is_ready or answers_ping)(probe):
                        return time.monotonic() - began
            except OSError:
                pass
            time.sleep(poll_s)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=READY_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def last_words(self):
        with open(os.path.join(self.home, "log"), "rb") as log:
            return log.read()[-2000:].decode(errors="replace")

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            text = stat.read()
        fields = text[text.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self, field):
        """`VmRSS` now, or `VmHWM`, the most so far."""
        with open("/proc/%d/status" % self.process.pid) as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def io_bytes(self, field):
        """`read_bytes` or `write_bytes`: what the process has caused to be read from or written to the disk."""
        with open("/proc/%d/io" % self.process.pid) as counters:
            for line in counters:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        return 0

    def files(self):
        """Path and bytes on the disk of each file in the data directory."""
        for at, _, names in os.walk(self.data_dir):
            for name in names:
                path = os.path.join(at, name)
                try:
                    yield path, os.lstat(path).st_blocks * 512
                except FileNotFoundError:
                    continue  # given up meanwhile

    def disk_mb(self):
        return sum(size for _, size in self.files()) / 1e6

    def ask(self, line):
        """The reply to a command without spaces in its words, as text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=READY_WITHIN_S) as connection:
            connection.sendall(line.encode() + b"\r\n")
            said = connection.makefile("rb")
            head = said.readline()
            if head[:1] != b"$":
                return head[1:].strip().decode(errors="replace")
            return said.read(max(0, int(head[1:]))).decode(errors="replace")

    def info(self, field):
        for line in self.ask("INFO").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value
        return None

    def counter(self, field):
        """A number of INFO."""
        value = self.info(field)
        if value is None:
            raise CannotMeasure("INFO of %s has no %s" % (self.program, field))
        return int(value)

    def settle(self):
        """Waits until everything is in tables, and nothing is left to merge."""
        if self.redis:
            return
        self.ask("FLUSHDB")
        began, quiet, last = time.monotonic(), 0, None
        while quiet < 3:
            if time.monotonic() - began > SETTLED_WITHIN_S:
                raise CannotMeasure("still merging after %d s" % SETTLED_WITHIN_S)
            time.sleep(1)
            fields = ("compactions", "flushed_bytes", "unflushed_bytes", "compactions_running", "compaction_pending_bytes")
            now = tuple(self.info(field) for field in fields)
            quiet = quiet + 1 if now == last and now[-2:] == ("0", "0") else 0
            last = now


class Home:
    """A directory for one run, removed behind it."""

    def __init__(self, args):
        self.args = args

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="bench-", dir=self.args.dir)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
