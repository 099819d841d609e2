"""Clients that write and read in pipelines of random depth, each in a thread, until the server or the caller ends them."""

import random
import threading
import time

from .oracle import VALUE_LENGTHS
from .resp import WAITS_MAX, Connection, ReplyError, Silence, Violation, encode

DEPTH_MAX = 16
PAUSE_AFTER_REFUSAL_S = 0.01


def no_error_is_allowed(_text):
    return None


class Load:
    """`refusal` as in Client.noted; `read_refusal`: whether an error of a read is allowed. `silence_is_allowed`: a client that gets no reply just ends."""

    def __init__(
        self,
        port,
        clients,
        rng,
        refusal=no_error_is_allowed,
        read_refusal=no_error_is_allowed,
        lengths=VALUE_LENGTHS,
        large=0.004,
        silence_is_allowed=False,
        waits=WAITS_MAX,
    ):
        self.port, self.clients, self.refusal, self.read_refusal = port, clients, refusal, read_refusal
        self.lengths, self.large, self.silence_is_allowed, self.waits = lengths, large, silence_is_allowed, waits
        self.stopped = threading.Event()
        self.idle = threading.Event()  # set: nobody sends
        self.refused = self.reads = self.deletes_acked = 0
        self.texts = set()  # first words of the errors that came
        self.threads = [threading.Thread(target=self.run, args=(client, rng.random())) for client in clients]
        for thread in self.threads:
            thread.start()

    def run(self, client, seed):
        try:
            with Connection(self.port, self.waits) as connection:
                self.write(client, connection, random.Random(seed))
        except OSError:
            pass  # killed
        except Silence as silence:
            if not self.silence_is_allowed:
                self.found(client, Violation("client %d: %s" % (client.number, silence)))
        except Violation as error:
            self.found(client, error)

    def found(self, client, error):
        client.error, client.error_at = error, time.monotonic()

    def write(self, client, connection, rng):
        while not self.stopped.is_set():
            if self.idle.is_set():
                time.sleep(0.005)
                continue
            batch = []
            for _ in range(rng.choice([1, 1, 4, DEPTH_MAX])):
                if rng.random() < 0.15:
                    owner, key = rng.choice(self.clients), rng.randrange(len(client.base))
                    batch.append((owner, key, encode("GET", owner.name(key))))
                else:
                    command, data = client.next_command(rng, self.lengths, self.large)
                    batch.append((None, command, data))
            # Intents first: a command may be carried out the moment its last byte is out.
            client.log += [what for owner, what, _ in batch if owner is None]
            connection.send(b"".join(data for _, _, data in batch))
            refused = False
            for owner, what, _ in batch:
                reply = connection.reply()
                if owner is not None:
                    if not isinstance(reply, ReplyError) or not self.read_refusal(str(reply)):
                        owner.saw(what, reply)
                    self.reads += 1
                    continue
                client.noted(what, reply, self.refusal)
                if what.state == "acked":
                    self.deletes_acked += what.is_delete
                else:
                    refused = True
                    self.refused += 1
                    self.texts.add(str(reply))
            if refused:
                time.sleep(PAUSE_AFTER_REFUSAL_S)

    def acked(self):
        return sum(client.acked() for client in self.clients)

    def stop(self):
        self.stopped.set()
        self.join()

    def join(self):
        for thread in self.threads:
            thread.join()

    def check(self):
        """Raises what a client found."""
        for client in self.clients:
            if client.error:
                raise client.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
