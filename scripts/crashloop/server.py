"""The server as a process: started, watched, stopped and killed from outside."""

import os
import random
import re
import signal
import socket
import subprocess
import time

from .resp import ADDRESS, Connection, Silence, Trouble, Violation

POLL_S = 0.005
READY_POLLS = 12_000
PORTS = (20_000, 32_000)  # below the range that outgoing connections take theirs from
PORT_ATTEMPTS = 20


def free_port(ports):
    for _ in range(1000):
        port = random.randrange(*ports)
        with socket.socket() as probe:
            try:
                probe.bind((ADDRESS, port))
                return port
            except OSError:
                continue
    raise Trouble("no free port")


class Server:
    """`wrap` goes before the command: prlimit, a shell that enters a control group."""

    def __init__(self, binary, data_dir, log_path, ports=PORTS, wrap=()):
        self.binary, self.data_dir, self.log_path = binary, data_dir, log_path
        self.ports, self.wrap = ports, list(wrap)
        self.redis = os.path.basename(binary) == "redis-server"
        self.process, self.port, self.keeps_port = None, None, False

    def words(self, options):
        if self.redis:
            os.makedirs(self.data_dir, mode=0o700, exist_ok=True)
            return ["--port", str(self.port), "--bind", ADDRESS, "--dir", self.data_dir, "--save", "", "--appendonly", "yes"] + [
                "--appendfsync",
                # While a sync runs, Redis in `everysec` puts off its write too: kill -9 then loses what it acknowledged.
                options["sync"].replace("everysec", "always"),
            ]
        words = ["start", "--port", str(self.port), "--bind", ADDRESS, "--data-dir", self.data_dir, "--sync", options["sync"]]
        words += ["--shards", str(options["shards"]), "--memtable-size", options["memtable"]]
        for setting in options.get("set", ()):
            words += ["--set", setting]
        return words

    def start(self, options):
        """At the port that it had before, as whoever restarts a server does."""
        self.keeps_port = self.port is not None
        if not self.keeps_port:
            self.port = free_port(self.ports)
        self.options = options
        with open(self.log_path, "ab") as log:
            log.write(b"-- %s\n" % " ".join(self.words(options)).encode())
            self.log_began = log.tell()
            log.flush()
            words = self.wrap + [self.binary] + self.words(options)
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def lost_its_port(self):
        """Whether it ended because another program was faster: no finding."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_began)
            return re.search(rb"port \d+ of \S+ is in use|Address already in use", log.read()) is not None

    def ended(self):
        return self.process.poll()

    def wait_ready(self):
        for _ in range(PORT_ATTEMPTS):
            if self.is_ready():
                return
            if not self.lost_its_port():
                raise Violation("the server ended at start with code %d:\n%s" % (self.process.returncode, self.last_words()))
            if self.keeps_port:
                raise Violation("its own port is in use for it after a kill:\n%s" % self.last_words())
            self.port = None
            self.start(self.options)
        raise Trouble("no port that stays free")

    def is_ready(self):
        """Waits; False: it has ended. Polls are counted, not timed: a machine that stands still is no slow start."""
        for _ in range(READY_POLLS):
            if self.process.poll() is not None:
                return False
            try:
                with Connection(self.port) as connection:
                    if connection.ask("PING") == "PONG":
                        return True
            except (OSError, Silence):
                pass
            time.sleep(POLL_S)
        raise Violation("not ready within %d s:\n%s" % (READY_POLLS * POLL_S, self.last_words()))

    def connect(self):
        return Connection(self.port)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def terminate(self):
        self.process.terminate()
        code = self.process.wait(timeout=READY_POLLS * POLL_S)
        if code != 0:
            raise Violation("SIGTERM ended it with code %d:\n%s" % (code, self.last_words()))

    def rss_bytes(self):
        with open("/proc/%d/statm" % self.process.pid) as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def last_words(self):
        with open(self.log_path, "rb") as log:
            return log.read()[-3000:].decode(errors="replace")

    def check_log(self):
        with open(self.log_path, "rb") as log:
            text = log.read().decode(errors="replace")
        if re.search(r"panicked at|assertion .* failed|SIGSEGV", text):
            raise Violation("the server's log tells of a panic:\n" + self.last_words())
