"""redis-py as it comes: default options, RESP3; and once more in RESP2."""

import sys
import time

import redis
from redis.exceptions import ResponseError, WatchError

from checks import PORT, check, restart_server, run_all, same


def eventually(question, seconds=20):
    """The first answer that is not None; waiting longer is a failure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        if answer is not None:
            return answer
        time.sleep(0.01)
    raise AssertionError("nothing came")


@check
def strings(r):
    same(r.set("s", "one"), True)
    same(r.get("s"), b"one")
    same(r.get("never"), None)
    same(r.append("s", " two"), 7)
    same(r.strlen("s"), 7)
    same(r.getrange("s", 0, 2), b"one")
    same(r.getrange("s", -3, -1), b"two")
    same(r.setrange("s", 4, "TWO"), 7)
    same(r.getset("s", "three"), b"one TWO")
    same(r.getdel("s"), b"three")
    same(r.exists("s"), 0)


@check
def set_with_options(r):
    same(r.set("o", 1, nx=True), True)
    same(r.set("o", 2, nx=True), None)
    same(r.set("o", 3, xx=True), True)
    same(r.set("nothing", 3, xx=True), None)
    same(r.set("o", 4, get=True), b"3")
    same(r.set("o", 5, ex=100), True)
    assert 0 < r.ttl("o") <= 100
    same(r.set("o", 6, keepttl=True), True)
    assert 0 < r.ttl("o") <= 100
    same(r.set("o", 7, px=100_000), True)
    assert 0 < r.pttl("o") <= 100_000
    same(r.set("o", 8, exat=int(time.time()) + 100), True)
    same(r.set("o", 9), True)
    same(r.ttl("o"), -1)


@check
def setnx_setex_psetex(r):
    same(r.setnx("nx", 1), True)
    same(r.setnx("nx", 2), False)
    same(r.setex("ex", 100, "v"), True)
    same(r.psetex("px", 100_000, "v"), True)
    same(r.get("px"), b"v")
    assert r.ttl("ex") > 90


@check
def getex(r):
    r.set("gx", "v")
    same(r.getex("gx", ex=100), b"v")
    assert r.ttl("gx") > 90
    same(r.getex("gx", persist=True), b"v")
    same(r.ttl("gx"), -1)


@check
def many_at_once(r):
    pairs = {f"m{i}": str(i) for i in range(100)}
    same(r.mset(pairs), True)
    same(r.mget(list(pairs)), [value.encode() for value in pairs.values()])
    same(r.mget("m1", "never", "m2"), [b"1", None, b"2"])
    same(r.delete(*pairs), 100)


@check
def msetnx(r):
    same(r.msetnx({"{n}1": 1, "{n}2": 2}), True)
    same(r.msetnx({"{n}2": 3, "{n}3": 3}), False)
    same(r.get("{n}3"), None)


@check
def counters(r):
    same(r.incr("c"), 1)
    same(r.incrby("c", 41), 42)
    same(r.decr("c"), 41)
    same(r.decrby("c", 1), 40)
    same(r.incrbyfloat("c", 0.5), 40.5)
    r.set("word", "abc")
    try:
        r.incr("word")
    except ResponseError as error:
        same(str(error), "value is not an integer or out of range")
    else:
        raise AssertionError("INCR of a word")


@check
def bits(r):
    same(r.setbit("b", 7, 1), 0)
    same(r.getbit("b", 7), 1)
    same(r.bitcount("b"), 1)
    same(r.bitpos("b", 1), 7)
    r.set("{b}1", b"\xff\x0f")
    r.set("{b}2", b"\x0f\xff")
    same(r.bitop("AND", "{b}3", "{b}1", "{b}2"), 2)
    same(r.get("{b}3"), b"\x0f\x0f")
    same(r.bitfield("f").set("u8", 0, 255).incrby("u8", 0, 1).get("u8", 0).execute(), [0, 0, 0])


@check
def lcs(r):
    r.mset({"{l}1": "ohmytext", "{l}2": "mynewtext"})
    same(r.lcs("{l}1", "{l}2"), b"mytext")
    same(r.lcs("{l}1", "{l}2", len=True), 6)


@check
def binary_keys_and_values(r):
    everything = bytes(range(256))
    for value in (everything, b"", b"\r\n", b"\0" * 10, "\u00e4\U0001f980".encode()):
        same(r.set(b"bin" + value, value), True)
        same(r.get(b"bin" + value), value)


@check
def a_large_value(r):
    value = bytes(range(256)) * (8 * 1024 * 4)
    same(r.set("large", value), True)
    same(r.strlen("large"), len(value))
    assert r.get("large") == value
    same(r.delete("large"), 1)


@check
def expiry(r):
    r.set("e", "v")
    same(r.expire("e", 100), True)
    assert 90 < r.ttl("e") <= 100
    same(r.pexpire("e", 200_000), True)
    assert 190_000 < r.pttl("e") <= 200_000
    same(r.expire("e", 50, nx=True), False)
    same(r.expire("e", 300, gt=True), True)
    same(r.persist("e"), True)
    same(r.ttl("e"), -1)
    at = int(time.time()) + 1000
    same(r.expireat("e", at), True)
    same(r.expiretime("e"), at)
    same(r.pexpireat("e", at * 1000 + 1), True)
    same(r.pexpiretime("e"), at * 1000 + 1)
    same(r.ttl("never"), -2)
    same(r.expire("never", 10), False)


@check
def a_key_goes_when_its_time_is_over(r):
    r.set("short", "v", px=30)
    eventually(lambda: None if r.exists("short") else True)
    same(r.get("short"), None)
    same(r.ttl("short"), -2)


@check
def keys(r):
    r.mset({"k1": 1, "k2": 2})
    same(r.exists("k1", "k2", "never"), 2)
    same(r.touch("k1", "never"), 1)
    same(r.type("k1"), b"string")
    same(r.type("never"), b"none")
    same(r.unlink("k1", "k2"), 2)
    assert r.randomkey() is not None


@check
def rename_and_copy(r):
    r.set("{r}1", "v")
    same(r.rename("{r}1", "{r}2"), True)
    same(r.renamenx("{r}2", "{r}3"), True)
    same(r.copy("{r}3", "{r}4"), True)
    same(r.copy("{r}3", "{r}4"), False)
    same(r.copy("{r}3", "{r}4", replace=True), True)
    try:
        r.rename("{r}never", "{r}5")
    except ResponseError as error:
        same(str(error), "no such key")
    else:
        raise AssertionError("RENAME of nothing")


@check
def scan_iterators(r):
    names = {f"scan:{i}".encode() for i in range(1000)}
    r.mset({name: "v" for name in names})
    same(set(r.scan_iter(match="scan:*")), names)
    same(set(r.scan_iter(match="scan:*", count=500)), names)
    same(set(r.scan_iter(match="scan:1?", _type="string")), {b"scan:%d" % i for i in range(10, 20)})
    assert names <= set(r.scan_iter())
    same(set(r.keys("scan:99*")), {b"scan:99"} | {b"scan:%d" % i for i in range(990, 1000)})
    assert r.dbsize() >= 1000


@check
def object_encoding(r):
    r.mset({"int": 12, "short": "text", "long": "x" * 100})
    found = [r.object("encoding", key) for key in ("int", "short", "long")]
    same(found, [b"int", b"embstr", b"raw"])


@check
def pipeline_in_a_transaction(r):
    with r.pipeline() as pipe:
        pipe.set("p", 1).incr("p").get("p").delete("p").get("p")
        same(pipe.execute(), [True, 2, b"2", 1, None])


@check
def pipeline_without_a_transaction(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"plain:{i}", i)
            pipe.get(f"plain:{i}")
        replies = pipe.execute()
    same(replies[1::2], [str(i).encode() for i in range(1000)])


@check
def an_error_within_a_pipeline(r):
    with r.pipeline() as pipe:
        pipe.set("pe", "word").incr("pe").get("pe")
        replies = pipe.execute(raise_on_error=False)
    same(replies[0], True)
    assert isinstance(replies[1], ResponseError), replies
    same(replies[2], b"word")


@check
def watch_lets_through(r):
    r.set("w", 1)
    with r.pipeline() as pipe:
        pipe.watch("w")
        value = int(pipe.get("w"))
        pipe.multi()
        pipe.set("w", value + 1)
        same(pipe.execute(), [True])
    same(r.get("w"), b"2")


@check
def watch_stops_what_came_too_late(r):
    r.set("w", 1)
    with r.pipeline() as pipe:
        pipe.watch("w")
        r.set("w", 5)
        pipe.multi()
        pipe.set("w", 2)
        try:
            pipe.execute()
        except WatchError:
            pass
        else:
            raise AssertionError("EXEC went through")
    same(r.get("w"), b"5")


@check
def transaction_helper(r):
    def increase(pipe):
        value = int(pipe.get("th") or 0)
        pipe.multi()
        pipe.set("th", value + 1)

    for _ in range(5):
        r.transaction(increase, "th")
    same(r.get("th"), b"5")


@check
def publish_and_subscribe(r):
    with r.pubsub() as subscriber:
        subscriber.subscribe("news")
        subscriber.psubscribe("n*")
        message = lambda: subscriber.get_message(timeout=0.1)  # noqa: E731
        kinds = [eventually(message)["type"] for _ in range(2)]
        same(kinds, ["subscribe", "psubscribe"])
        same(r.publish("news", b"hello\r\n"), 2)
        received = {eventually(message)["type"]: None for _ in range(2)}
        same(set(received), {"message", "pmessage"})
        same(r.pubsub_channels(), [b"news"])
        same(r.pubsub_numsub("news"), [(b"news", 1)])
        same(r.pubsub_numpat(), 1)
        subscriber.unsubscribe("news")
        same(eventually(message)["type"], "unsubscribe")
        same(r.publish("other", "x"), 0)


@check
def client_commands(r):
    same(r.client_setname("checker"), True)
    same(r.client_getname(), "checker")
    assert r.client_id() > 0
    same(r.client_info()["id"], r.client_id())


@check
def client_list(r):
    assert any(entry["addr"] for entry in r.client_list())


@check
def server_commands(r):
    same(r.ping(), True)
    same(r.echo("x"), b"x")
    seconds, _micros = r.time()
    assert abs(seconds - time.time()) < 60
    assert r.command_count() > 20
    same(r.config_get("databases"), {"databases": "1"})


@check
def info(r):
    everything = r.info()
    for field in ("redis_version", "run_id", "tcp_port", "connected_clients", "used_memory", "role"):
        assert field in everything, field
    same(r.info("server")["tcp_port"], PORT)
    assert "cmdstat_get" in r.info("commandstats")


@check
def memory_usage(r):
    r.set("mu", "x" * 1000)
    assert r.memory_usage("mu") >= 1000


@check
def slowlog(r):
    same(r.slowlog_reset(), True)
    assert r.slowlog_len() >= 0
    assert isinstance(r.slowlog_get(), list)


@check
def wait(r):
    same(r.wait(0, 10), 0)


@check
def reconnects_after_client_kill(r):
    other = redis.Redis(port=PORT)
    killed = other.client_id()
    same(r.client_kill_filter(_id=str(killed)), 1)
    same(other.set("after-kill", "v"), True)
    assert other.client_id() != killed
    other.close()


@check
def reconnects_after_a_restart(r):
    r.set("kept", "v")
    restart_server()
    same(r.get("kept"), b"v")


@check
def flushall(r):
    r.set("f", 1)
    same(r.flushall(), True)
    same(r.dbsize(), 0)
    same(r.get("f"), None)


if __name__ == "__main__":
    print(f"# redis-py {redis.__version__}")
    passed = run_all("", redis.Redis(port=PORT))
    passed &= run_all("resp2/", redis.Redis(port=PORT, protocol=2))
    sys.exit(0 if passed else 1)
