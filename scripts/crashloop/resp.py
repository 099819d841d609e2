"""The Redis protocol as a client speaks it, and the ways in which a run can end early."""

import os
import socket

# A loopback address of this run: other programs that connect to some port of 127.0.0.1 do not write into what is judged here.
ADDRESS = "127.%d.%d.1" % (os.getpid() // 250 % 250 + 1, os.getpid() % 250 + 1)

# One wait for bytes; a reply may take many of them. Counted rather than timed: a machine that stands still counts nothing.
WAIT_S = 1.0
WAITS_MAX = 40


class Violation(Exception):
    """The server broke a promise."""


class Trouble(Exception):
    """The loop cannot go on: nothing is known about the promise."""


class Skip(Exception):
    """This machine lacks what the mode needs."""


class Silence(Exception):
    """No reply, though the connection stands."""


class ReplyError(str):
    """An error reply."""


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word.encode() if isinstance(word, str) else word
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Connection:
    def __init__(self, port, waits=WAITS_MAX):
        self.waits = waits
        self.socket = socket.create_connection((ADDRESS, port), timeout=WAIT_S * waits)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(WAIT_S)
        self.buffer, self.at = b"", 0

    def send(self, data):
        rest = memoryview(data)
        silent = 0
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
                silent = 0
            except TimeoutError:
                silent += 1
                if silent >= self.waits:
                    raise Silence("nothing more is taken") from None

    def more(self):
        for _ in range(self.waits):
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                raise ConnectionError("closed")
            self.buffer = self.buffer[self.at :] + data
            self.at = 0
            return
        raise Silence("no reply")

    def line(self):
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self.more()
        line, self.at = self.buffer[self.at : end], end + 2
        return line

    def exactly(self, length):
        if len(self.buffer) - self.at < length:
            parts = [self.buffer[self.at :]]
            missing = length - len(parts[0])
            self.buffer, self.at = b"", 0
            while missing > 0:
                self.more()
                part, self.buffer = self.buffer[:missing], self.buffer[missing:]
                missing -= len(part)
                parts.append(part)
            return b"".join(parts)
        data = self.buffer[self.at : self.at + length]
        self.at += length
        return data

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind in b"$=":
            if rest == b"-1":
                return None
            return self.exactly(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise Violation("not RESP: %r" % line[:100])

    def ask(self, *words):
        self.send(encode(*words))
        return self.reply()

    def info(self):
        """INFO as a dict of texts."""
        text = self.ask("INFO").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def close(self):
        try:
            self.socket.close()
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
