"""The tools of Redis as users run them: redis-cli in its modes, redis-benchmark, redis_exporter."""

import fcntl
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request

from checks import PORT, check, run_all, same

ADDRESS = ["-h", "127.0.0.1", "-p", str(PORT)]
# A tool that takes longer hangs.
HANG_S = 60


def cli(*words, stdin=b"", status=0):
    """What redis-cli says; as text."""
    done = subprocess.run(["redis-cli", *ADDRESS, *words], input=stdin, capture_output=True, timeout=HANG_S)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == status, f"status {done.returncode}: {text}"
    assert "ERR " not in text, text
    return text


def fill(count):
    commands = b"".join(b"SET fill:%d %s\r\n" % (i, b"x" * (i % 500 + 1)) for i in range(count))
    assert f"errors: 0, replies: {count}" in cli("--pipe", stdin=commands)


@check
def cli_commands():
    same(cli("SET", "greeting", "hello world"), "OK\n")
    same(cli("GET", "greeting"), "hello world\n")
    same(cli("-3", "GET", "greeting"), "hello world\n")
    same(cli("--no-raw", "GET", "never"), "(nil)\n")
    same(cli("-x", "SET", "stdin", stdin=b"a\0b"), "OK\n")
    same(cli("-r", "3", "INCR", "counted"), "1\n2\n3\n")
    assert "redis_version:" in cli("INFO", "server")


@check
def cli_in_resp3():
    said = cli("-3", "--no-raw", "CONFIG", "GET", "databases")
    same(said, '1# "databases" => "1"\n')


@check
def cli_pipe():
    fill(20_000)
    same(cli("STRLEN", "fill:19999"), f"{19_999 % 500 + 1}\n")


@check
def cli_scan():
    fill(2_000)
    found = cli("--scan", "--pattern", "fill:1?").split()
    same(sorted(found), [f"fill:{i}" for i in range(10, 20)])
    assert len(cli("--scan").split()) >= 2_000


@check
def cli_bigkeys():
    fill(2_000)
    said = cli("--bigkeys")
    assert "Biggest string found" in said, said


@check
def cli_memkeys():
    fill(500)
    said = cli("--memkeys")
    assert "Biggest string found" in said, said


@check
def cli_stat():
    """A few of its lines; it has no end of its own."""
    child = subprocess.Popen(["redis-cli", *ADDRESS, "--stat", "-i", "0.1"], stdout=subprocess.PIPE, text=True)
    try:
        lines = [child.stdout.readline() for _ in range(6)]
    finally:
        child.kill()
        child.wait()
    rows = [line for line in lines if re.match(r"^\d+ +[\d.]+[BKMG] ", line)]
    assert len(rows) >= 4, lines


@check
def cli_latency():
    said = cli("--latency", "--raw", "-i", "1")
    assert re.match(r"^\d+ \d+ [\d.]+ \d+\n$", said), said


def wait_for(terminal, answer):
    """Reads until the terminal shows `answer`, and behind it a prompt."""
    said = b""
    end = time.monotonic() + HANG_S
    while not re.search(re.escape(answer) + b".*> ", said, re.DOTALL):
        assert time.monotonic() < end, said
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 4096)


@check
def cli_on_a_terminal():
    """Prompt, reply and the server's own help texts."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("redis-cli", ["redis-cli", *ADDRESS])
    # With a width of its own redis-cli need not ask the terminal, which is not there to answer.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        wait_for(terminal, b"")
        for line, answer in ((b"set terminal 1\r", b"OK"), (b"help mget\r", b"summary:")):
            os.write(terminal, line)
            wait_for(terminal, answer)
    finally:
        os.write(terminal, b"quit\r")
        os.close(terminal)
        os.waitpid(child, 0)


def benchmark(*words):
    tests = ["-t", "ping,set,get,incr,mset", "-n", "5000", "-r", "1000", "-q"]
    done = subprocess.run(["redis-benchmark", *ADDRESS, *tests, *words], capture_output=True, timeout=HANG_S)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0 and "rror" not in text, text
    for test in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"):
        assert f"{test}: " in text, text


@check
def benchmark_one_by_one():
    benchmark()


@check
def benchmark_pipelined():
    benchmark("-P", "16", "-d", "100")


@check
def benchmark_resp3():
    benchmark("-3", "-P", "4")


def exporter():
    """Two scrapes: the server is up, and nothing is logged as an error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-redis.addr", f"redis://127.0.0.1:{PORT}", "-web.listen-address", f"127.0.0.1:{port}"]
    child = subprocess.Popen(["prometheus-redis-exporter", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        metrics = ""
        for _ in range(2):
            end = time.monotonic() + 30
            while True:
                try:
                    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
                    break
                except OSError:
                    assert time.monotonic() < end, "the exporter does not listen"
                    time.sleep(0.05)
    finally:
        child.terminate()
        log, _ = child.communicate(timeout=HANG_S)
    errors = [line for line in log.splitlines() if re.search(r"level=(error|warn|fatal)|ERR ", line)]
    assert not errors, " ".join(errors)
    for line in ("redis_up 1", "redis_exporter_last_scrape_error{err=\"\"} 0"):
        assert line in metrics, f"no '{line}'"
    for name in ("redis_memory_used_bytes", "redis_connected_clients", "redis_commands_total", "redis_instance_info"):
        assert f"\n{name}" in metrics, f"no {name}"


if __name__ == "__main__":
    print("# " + subprocess.run(["redis-cli", "--version"], capture_output=True, text=True).stdout.strip())
    if shutil.which("prometheus-redis-exporter"):
        check(exporter)
    else:
        print("SKIPPED exporter: prometheus-redis-exporter is not installed")
    sys.exit(0 if run_all("") else 1)
