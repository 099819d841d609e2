"""What was intended, acknowledged and seen, and what therefore must be found.

Every client owns its keys. Per command: the intent is noted before it is sent, the acknowledgement and its moment after the
reply, and what a GET returned counts as seen.
  - Clients with an even number keep their keys in one shard (hash tag). What survives must be their history up to one point,
    whole commands only: no holes, no half MSET. The point is at or behind the last acknowledgement that counts.
  - The keys of the others lie in all shards. Each key must hold a version from the last acknowledged one on.
  - In `always`, a version that was seen must survive like an acknowledged one.
  - Every value is checked whole: client, key, version, CRC, padding. DBSIZE agrees.
Which acknowledgements count is said as a moment: all of them after a kill; under a power cut those before it, or before it by
more than the window that the policy leaves open; none under `no`.
"""

import random
import sys
import time
import zlib

from .resp import ReplyError, Violation, encode

KEYS_PER_CLIENT = 60
VALUE_LENGTHS = [0, 1, 20, 100, 100, 100, 400, 1000, 4000]
LARGE_VALUES = [30_000, 130_000, 700_000]
EVER = float("inf")
NEVER = float("-inf")

OPEN, ACKED, REFUSED = "open", "acked", "refused"


def padding(length, salt):
    # Half of it compresses, half does not: both kinds of blocks get written.
    noise = random.Random(salt).randbytes(length // 2)
    return noise + b"p" * (length - len(noise))


def make_value(client, key, version, length):
    body = b"%d|%d|%d|%d|" % (client, key, version, length)
    pad = padding(length, client * 1_000_003 + key * 101 + version)
    return b"%s%08x|%s" % (body, zlib.crc32(body + pad), pad)


def parse_value(value, client, key):
    """The version that `value` holds; a violation if it is not whole or not of this key."""
    parts = value.split(b"|", 5)
    try:
        got_client, got_key, version, length = (int(part) for part in parts[:4])
        checksum, pad = int(parts[4], 16), parts[5]
    except (ValueError, IndexError):
        raise Violation("key %d of client %d holds %r.. (%d bytes)" % (key, client, value[:80], len(value))) from None
    body = b"|".join(parts[:4]) + b"|"
    if (got_client, got_key) != (client, key):
        raise Violation("key %d of client %d holds the value of key %d of client %d" % (key, client, got_key, got_client))
    if len(pad) != length or zlib.crc32(body + pad) != checksum:
        raise Violation("key %d of client %d: version %d is damaged" % (key, client, version))
    return version


class Command:
    """One write that was sent: what it changes, what became of it, and when that was known."""

    __slots__ = ("changes", "state", "at", "is_delete")

    def __init__(self, changes, is_delete=False):
        self.changes, self.is_delete = changes, is_delete
        self.state, self.at = OPEN, None

    def counts(self, until):
        return self.state == ACKED and self.at <= until


class Client:
    """One client's keys and history. A version is the number of the command that wrote it; None = absent."""

    def __init__(self, number, tag=None):
        self.number = number
        self.tag = tag  # puts all keys into a shard of choice
        self.base = {key: None for key in range(KEYS_PER_CLIENT)}  # proven to be there when the round began
        self.log = []  # the Commands of this round, in order
        self.seen = {}  # key -> (latest version that anyone read this round, when)
        self.commands = 0
        self.unsure = False  # a write of this round was answered by an error
        self.error, self.error_at = None, None

    def one_shard(self):
        return self.tag is not None or self.number % 2 == 0

    def name(self, key):
        if self.tag is not None:
            return "{%s}%d:%d" % (self.tag, self.number, key)
        return ("{k%d}:%d" if self.one_shard() else "k%d:%d") % (self.number, key)

    def next_command(self, rng, lengths, large):
        """A Command and its bytes."""
        self.commands += 1
        kind = rng.random()
        keys = [rng.randrange(KEYS_PER_CLIENT) for _ in range(1 if kind < 0.6 else rng.randint(2, 6))]
        if kind < 0.8:
            length = rng.choice(LARGE_VALUES) if rng.random() < large else rng.choice(lengths)
            words = ["SET" if len(keys) == 1 else "MSET"]
            for key in keys:
                words += [self.name(key), make_value(self.number, key, self.commands, length)]
            return Command({key: self.commands for key in keys}), encode(*words)
        return Command({key: None for key in keys}, True), encode("DEL", *(self.name(key) for key in keys))

    def noted(self, command, reply, refusal):
        """Takes a reply. `refusal` tells from an error's text whether nothing was changed; None: no such error is allowed."""
        command.at = time.monotonic()
        if not isinstance(reply, ReplyError):
            # "None of them was there", told by a shard that takes no writes any more, has changed nothing.
            command.state = REFUSED if self.unsure and command.is_delete and reply == 0 else ACKED
            return
        self.unsure = True
        definite = refusal(str(reply))
        if definite is None:
            raise Violation("client %d: error reply: %s" % (self.number, reply))
        # Over several shards, one may have refused what another took.
        if definite and (self.one_shard() or len(command.changes) == 1):
            command.state = REFUSED

    def saw(self, key, reply):
        if reply is None:
            return
        if isinstance(reply, ReplyError):
            raise Violation("GET %s: %s" % (self.name(key), reply))
        version = parse_value(reply, self.number, key)
        if version > self.commands:
            raise Violation("%s: version %d from the future" % (self.name(key), version))
        if version > self.seen.get(key, (0, 0))[0]:
            self.seen[key] = (version, time.monotonic())

    def acked(self):
        return sum(command.state == ACKED for command in self.log)

    def still_open(self):
        return sum(command.state == OPEN for command in self.log)

    def verify(self, found, sync, until=EVER):
        """Checks what is found against all that must be there: what was acknowledged up to `until`."""
        if self.one_shard():
            self.verify_prefix(found, until)
        else:
            self.verify_keys(found, until)
        if sync != "always":
            return
        for key, (version, at) in self.seen.items():
            # Older than what was seen is a loss; absent is one unless a later delete was sent.
            got = found[key]
            deleted = any(command.changes.get(key, 0) is None for command in self.log_after(version))
            if at <= until and ((got is None and not deleted) or (got is not None and got < version)):
                raise Violation("%s: version %d was read by a client, now it is %s" % (self.name(key), version, got))

    def log_after(self, version):
        passed = False
        for command in self.log:
            if passed:
                yield command
            passed = passed or version in command.changes.values()
        if not passed:
            yield from self.log

    def verify_prefix(self, found, until):
        log = [command for command in self.log if command.state != REFUSED]
        earliest = max((place for place, command in enumerate(log, 1) if command.counts(until)), default=0)
        state = dict(self.base)
        for command in log[:earliest]:
            state.update(command.changes)
        wrong = {key for key in state if state[key] != found[key]}
        nearest = (len(wrong), earliest, sorted(wrong))
        for place, command in enumerate(log[earliest:], earliest + 1):
            if not wrong:
                return
            state.update(command.changes)
            for key in command.changes:
                (wrong.discard if state[key] == found[key] else wrong.add)(key)
            nearest = min(nearest, (len(wrong), place, sorted(wrong)))
        if wrong:
            _, place, keys = nearest
            raise Violation(
                "client %d (one shard): what survived is no prefix of its history at or after command %d of %d (%d acknowledged in all); "
                "nearest: %d commands, where %s differ: found %s"
                % (self.number, earliest, len(log), self.acked(), place, [self.name(k) for k in keys[:10]], [found[k] for k in keys[:10]])
            )

    def verify_keys(self, found, until):
        allowed = {key: {version} for key, version in self.base.items()}
        for command in self.log:
            for key, version in command.changes.items():
                if command.counts(until):
                    allowed[key] = {version}
                elif command.state != REFUSED:
                    allowed[key].add(version)
        for key, version in found.items():
            if version not in allowed[key]:
                raise Violation(
                    "%s: found version %s, allowed are %s (%d sent, %d acknowledged)"
                    % (self.name(key), version, sorted(allowed[key], key=str), len(self.log), self.acked())
                )

    def settle(self, found):
        """What was verified is the base of the next round."""
        self.base = dict(found)
        self.log, self.seen, self.unsure = [], {}, False

    def evidence(self):
        log = [(command.changes, command.state, command.at) for command in self.log]
        return {"client": self.number, "base": self.base, "log": log, "seen": self.seen}


def read_back(connection, clients, size=True):
    """Every key of every client: {client: {key: version}}."""
    found = {}
    for client in clients:
        connection.send(b"".join(encode("GET", client.name(key)) for key in range(KEYS_PER_CLIENT)))
        found[client.number] = {}
        for key in range(KEYS_PER_CLIENT):
            value = connection.reply()
            if isinstance(value, ReplyError):
                raise Violation("GET %s: %s" % (client.name(key), value))
            found[client.number][key] = None if value is None else parse_value(value, client.number, key)
    if size:
        counted = connection.ask("DBSIZE")
        live = sum(version is not None for keys in found.values() for version in keys.values())
        if counted != live:
            raise Violation("DBSIZE says %s, the keys read back are %d" % (counted, live))
    return found


def check():
    """Each kind of loss, made up: the oracle must find it, and must find nothing in what is allowed."""

    def client(number):
        one = Client(number)
        one.base = {key: 1 if key < 3 else None for key in range(KEYS_PER_CLIENT)}
        one.log = [Command(changes) for changes in ({0: 2}, {1: 3, 2: 3}, {0: None}, {3: 5}, {0: 6})]
        for at, command in enumerate(one.log[:4], 1):
            command.state, command.at = ACKED, float(at)
        return one

    acked = {0: None, 1: 3, 2: 3, 3: 5}
    refused = lambda one: setattr(one.log[4], "state", REFUSED)
    cases = [
        # client (even: one shard), what differs from the acknowledged state, sync, until, seen, whether it is a loss
        (0, {}, "always", EVER, {}, False),
        (0, {0: 6}, "always", EVER, {}, False),
        (0, {3: None}, "everysec", EVER, {}, True),
        (0, {3: None}, "no", NEVER, {}, False),
        (0, {0: 2, 1: 1, 2: 1, 3: None}, "no", NEVER, {}, False),
        (0, {0: 2, 1: 3, 2: 1, 3: None}, "no", NEVER, {}, True),  # half an MSET
        (0, {1: 1, 2: 1}, "no", NEVER, {}, True),  # a hole
        (0, {0: 2}, "always", EVER, {}, True),  # a delete undone
        (0, {4: 9}, "no", NEVER, {}, True),  # never written
        (0, {}, "always", EVER, {0: (6, 9.0)}, True),  # seen, then gone
        (0, {0: 6}, "always", EVER, {0: (6, 9.0)}, False),
        # Acknowledged after the cut: may be lost; before it: may not.
        (0, {3: None}, "always", 3.5, {}, False),
        (0, {3: None}, "always", 4.0, {}, True),
        (0, {0: 2, 3: None}, "everysec", 2.0, {}, False),
        (0, {0: 1, 1: 1, 2: 1, 3: None}, "everysec", 2.0, {}, True),
        (0, {}, "always", 4.5, {0: (6, 5.0)}, False),  # seen after the cut
        (1, {}, "always", EVER, {}, False),
        (1, {0: 6}, "always", EVER, {}, False),
        (1, {0: 2}, "always", EVER, {}, True),
        (1, {2: 1}, "everysec", EVER, {}, True),
        (1, {2: 1}, "no", NEVER, {}, False),
        (1, {3: None}, "always", 3.5, {}, False),
        (1, {2: 1}, "always", 3.5, {}, True),
        (1, {}, "always", EVER, {0: (6, 9.0)}, True),
    ]
    wrong = []

    def tell(case, prepare=lambda one: None):
        number, change, sync, until, seen, loss = case
        one = client(number)
        prepare(one)
        one.seen = dict(seen)
        try:
            one.verify({**one.base, **acked, **change}, sync, until)
            told = False
        except Violation:
            told = True
        if told != loss:
            wrong.append(case)

    for case in cases:
        tell(case)
    # What was refused with "nothing changed" must not be there.
    tell((0, {0: 6}, "always", EVER, {}, True), refused)
    tell((1, {0: 6}, "always", EVER, {}, True), refused)
    value = make_value(3, 4, 5, 100)
    damaged = [value[:-1], value + b"x", value[:30] + b"?" + value[31:], b"", value.replace(b"|5|", b"|6|")]
    assert parse_value(value, 3, 4) == 5
    for bytes_ in damaged + [make_value(3, 5, 5, 100)]:
        try:
            parse_value(bytes_, 3, 4)
            wrong.append(bytes_)
        except Violation:
            pass
    for case in wrong:
        print("crash-loop: the oracle is wrong about %r" % (case,), file=sys.stderr)
    print("the oracle tells %d made-up cases apart" % (len(cases) + 2 + len(damaged) + 1))
    return 1 if wrong else 0
