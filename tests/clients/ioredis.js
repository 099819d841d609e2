// ioredis as it comes.
"use strict";

const Redis = require("ioredis");
const { port, check, same, holds, fails, eventually, restartServer, runAll } = require("./checks.js");

function connect() {
  const client = new Redis(port);
  client.on("error", () => {}); // A lost connection is what some checks are about.
  return client;
}

check("strings", async (r) => {
  same(await r.set("s", "one"), "OK");
  same(await r.get("s"), "one");
  same(await r.get("never"), null);
  same(await r.append("s", " two"), 7);
  same(await r.strlen("s"), 7);
  same(await r.getrange("s", 0, 2), "one");
  same(await r.substr("s", 0, 2), "one");
  same(await r.setrange("s", 4, "TWO"), 7);
  same(await r.getset("s", "three"), "one TWO");
  same(await r.getdel("s"), "three");
});
check("set with options", async (r) => {
  same(await r.set("o", "1", "NX"), "OK");
  same(await r.set("o", "2", "NX"), null);
  same(await r.set("o", "3", "EX", 100, "XX"), "OK");
  same(await r.set("o", "4", "KEEPTTL"), "OK");
  holds((await r.ttl("o")) > 90, "KEEPTTL");
  same(await r.set("o", "5", "PX", 100000, "GET"), "4");
  same(await r.getex("o", "PERSIST"), "5");
  same(await r.ttl("o"), -1);
  await fails(r.set("o", "6", "NX", "XX"), "ERR syntax error");
});
check("setnx setex psetex", async (r) => {
  same(await r.setnx("nx", "1"), 1);
  same(await r.setnx("nx", "2"), 0);
  same(await r.setex("ex", 100, "v"), "OK");
  same(await r.psetex("px", 100000, "v"), "OK");
});
check("many at once", async (r) => {
  const pairs = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`m${i}`, String(i)]));
  same(await r.mset(pairs), "OK");
  same(await r.mget(Object.keys(pairs)), Object.values(pairs));
  same(await r.del(Object.keys(pairs)), 100);
  same(await r.msetnx("{n}1", 1, "{n}2", 2), 1);
  same(await r.msetnx("{n}2", 1, "{n}3", 2), 0);
});
check("counters", async (r) => {
  same(await r.incr("c"), 1);
  same(await r.incrby("c", 41), 42);
  same(await r.decr("c"), 41);
  same(await r.decrby("c", 1), 40);
  same(await r.incrbyfloat("c", 0.5), "40.5");
  await r.set("word", "abc");
  await fails(r.incr("word"), "ERR value is not an integer or out of range");
});
check("bits", async (r) => {
  same(await r.setbit("b", 7, 1), 0);
  same(await r.getbit("b", 7), 1);
  same(await r.bitcount("b"), 1);
  same(await r.bitpos("b", 1), 7);
  same(await r.bitop("NOT", "{b}2", "{b}1"), 0);
  same(await r.bitfield("f", "SET", "u8", 0, 255, "GET", "u8", 0), [0, 255]);
});
check("binary values", async (r) => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  for (const value of [all, Buffer.alloc(0), Buffer.from("\r\n"), Buffer.from("\u00e4")]) {
    same(await r.set(all, value), "OK");
    same(await r.getBuffer(all), value);
  }
});
check("a large value", async (r) => {
  const value = "0123456789abcdef".repeat(512 * 1024);
  same(await r.set("large", value), "OK");
  holds((await r.get("large")) === value, "8 MiB come back");
  same(await r.del("large"), 1);
});
check("expiry", async (r) => {
  await r.set("e", "v");
  same(await r.expire("e", 100), 1);
  holds((await r.ttl("e")) > 90, "TTL");
  same(await r.pexpire("e", 200000), 1);
  holds((await r.pttl("e")) > 190000, "PTTL");
  same(await r.expire("e", 50, "NX"), 0);
  const at = Math.floor(Date.now() / 1000) + 1000;
  same(await r.expireat("e", at), 1);
  same(await r.expiretime("e"), at);
  same(await r.persist("e"), 1);
  same(await r.ttl("never"), -2);
});
check("a key goes when its time is over", async (r) => {
  await r.psetex("short", 30, "v");
  await eventually(async () => (await r.exists("short")) === 0);
});
check("keys", async (r) => {
  await r.mset("k1", "1", "k2", "2");
  same(await r.exists("k1", "k2", "never"), 2);
  same(await r.touch("k1"), 1);
  same(await r.type("k1"), "string");
  same(await r.unlink("k1", "k2"), 2);
  await r.set("{r}1", "v");
  same(await r.rename("{r}1", "{r}2"), "OK");
  same(await r.renamenx("{r}2", "{r}3"), 1);
  same(await r.copy("{r}3", "{r}4"), 1);
  await fails(r.rename("{r}never", "{r}5"), "ERR no such key");
  same(await r.object("ENCODING", "{r}3"), "embstr");
});
check("scan stream", async (r) => {
  const names = Array.from({ length: 500 }, (_, i) => `scan:${i}`);
  await r.mset(names.flatMap((name) => [name, "v"]));
  const found = new Set();
  for await (const page of r.scanStream({ match: "scan:*", count: 50 })) {
    for (const key of page) found.add(key);
  }
  same([...found].sort(), [...names].sort());
  same((await r.keys("scan:1?")).sort(), names.slice(10, 20).sort());
  holds((await r.dbsize()) >= 500, "DBSIZE");
});
check("pipeline", async (r) => {
  const pipeline = r.pipeline();
  for (let i = 0; i < 500; i += 1) pipeline.set(`plain:${i}`, i).get(`plain:${i}`);
  const replies = await pipeline.exec();
  holds(replies.every(([error]) => error === null), "no error in a pipeline");
  same(replies[999], [null, "499"]);
});
check("multi", async (r) => {
  const replies = await r.multi().set("p", 1).incr("p").get("p").del("p").exec();
  same(replies, [[null, "OK"], [null, 2], [null, "2"], [null, 1]]);
});
check("an error within multi", async (r) => {
  const replies = await r.multi().set("pe", "word").incr("pe").get("pe").exec();
  holds(replies[1][0].message.includes("not an integer"), "the error of INCR");
  same(replies[2], [null, "word"]);
});
check("watch", async (r) => {
  const other = connect();
  try {
    await other.set("w", "1");
    same(await other.watch("w"), "OK");
    same(await other.multi().set("w", "2").exec(), [[null, "OK"]]);
    await other.watch("w");
    await r.set("w", "5");
    same(await other.multi().set("w", "6").exec(), null);
    same(await r.get("w"), "5");
  } finally {
    other.disconnect();
  }
});
check("publish and subscribe", async (r) => {
  const subscriber = connect();
  try {
    const heard = [];
    subscriber.on("message", (channel, message) => heard.push([channel, message]));
    subscriber.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
    same(await subscriber.subscribe("news", "other"), 2);
    same(await subscriber.psubscribe("n*"), 3);
    same(await r.publish("news", "hello\r\n"), 2);
    await eventually(() => heard.length === 2);
    same(heard.sort()[0], ["n*", "news", "hello\r\n"]);
    same((await r.pubsub("CHANNELS")).sort(), ["news", "other"]);
    same(await r.pubsub("NUMSUB", "news"), ["news", 1]);
    // With names: without any, this client waits for ever in RESP3, with Redis too.
    same(await subscriber.unsubscribe("news", "other"), 1);
    same(await subscriber.punsubscribe("n*"), 0);
    same(await subscriber.ping(), "PONG");
  } finally {
    subscriber.disconnect();
  }
});
check("the server", async (r) => {
  same(await r.ping(), "PONG");
  same(await r.echo("x"), "x");
  holds((await r.info("server")).includes("redis_version:"), "INFO");
  holds((await r.command("COUNT")) > 20, "COMMAND COUNT");
  same(await r.client("SETNAME", "checker"), "OK");
  same(await r.client("GETNAME"), "checker");
  holds((await r.client("ID")) > 0, "CLIENT ID");
  holds((await r.time()).length === 2, "TIME");
});
check("client list and memory usage", async (r) => {
  holds((await r.client("LIST")).includes("name=checker"), "CLIENT LIST");
  await r.set("mu", "x".repeat(1000));
  holds((await r.memory("USAGE", "mu")) >= 1000, "MEMORY USAGE");
});
check("reconnects after CLIENT KILL", async (r) => {
  const other = connect();
  try {
    const id = await other.client("ID");
    same(await r.client("KILL", "ID", id), 1);
    same(await eventually(() => other.set("after-kill", "v").catch(() => null)), "OK");
    holds((await other.client("ID")) !== id, "another connection");
  } finally {
    other.disconnect();
  }
});
check("reconnects after a restart", async (r) => {
  await r.set("kept", "v");
  await restartServer();
  same(await eventually(() => r.get("kept").catch(() => null)), "v");
});
check("flushall", async (r) => {
  same(await r.flushall(), "OK");
  same(await r.dbsize(), 0);
});

const client = connect();
console.log(`# ioredis ${require("ioredis/package.json").version}`);
runAll(client).then((passed) => {
  client.disconnect();
  process.exit(passed ? 0 : 1);
});
