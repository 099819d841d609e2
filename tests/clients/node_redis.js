// node-redis as it comes.
"use strict";

const { createClient, RESP_TYPES } = require("redis");
const { port, check, same, holds, fails, eventually, restartServer, runAll } = require("./checks.js");

const options = { url: `redis://127.0.0.1:${port}` };

async function connect() {
  const client = createClient(options);
  client.on("error", () => {}); // A lost connection is what some checks are about.
  await client.connect();
  return client;
}

check("strings", async (r) => {
  same(await r.set("s", "one"), "OK");
  same(await r.get("s"), "one");
  same(await r.get("never"), null);
  same(await r.append("s", " two"), 7);
  same(await r.strLen("s"), 7);
  same(await r.getRange("s", 0, 2), "one");
  same(await r.setRange("s", 4, "TWO"), 7);
  same(await r.getSet("s", "three"), "one TWO");
  same(await r.getDel("s"), "three");
});
check("set with options", async (r) => {
  same(await r.set("o", "1", { condition: "NX" }), "OK");
  same(await r.set("o", "2", { condition: "NX" }), null);
  same(await r.set("o", "3", { condition: "XX", GET: true }), "1");
  same(await r.set("o", "4", { expiration: { type: "EX", value: 100 } }), "OK");
  same(await r.set("o", "5", { expiration: "KEEPTTL" }), "OK");
  holds((await r.ttl("o")) > 90, "KEEPTTL");
  same(await r.set("o", "6", { expiration: { type: "PX", value: 100000 } }), "OK");
  same(await r.getEx("o", { type: "PERSIST" }), "6");
  same(await r.ttl("o"), -1);
});
check("setNX setEx pSetEx", async (r) => {
  same(await r.setNX("nx", "1"), 1);
  same(await r.setNX("nx", "2"), 0);
  same(await r.setEx("ex", 100, "v"), "OK");
  same(await r.pSetEx("px", 100000, "v"), "OK");
});
check("many at once", async (r) => {
  const pairs = Array.from({ length: 100 }, (_, i) => [`m${i}`, String(i)]);
  same(await r.mSet(pairs), "OK");
  same(await r.mGet(pairs.map(([key]) => key)), pairs.map(([, value]) => value));
  same(await r.del(pairs.map(([key]) => key)), 100);
  same(await r.mSetNX([["{n}1", "1"], ["{n}2", "2"]]), 1);
});
check("counters", async (r) => {
  same(await r.incr("c"), 1);
  same(await r.incrBy("c", 41), 42);
  same(await r.decr("c"), 41);
  same(await r.decrBy("c", 1), 40);
  same(await r.incrByFloat("c", 0.5), "40.5");
  await r.set("word", "abc");
  await fails(r.incr("word"), "ERR value is not an integer or out of range");
});
check("bits", async (r) => {
  same(await r.setBit("b", 7, 1), 0);
  same(await r.getBit("b", 7), 1);
  same(await r.bitCount("b"), 1);
  same(await r.bitPos("b", 1), 7);
  same(await r.bitField("f", [{ operation: "SET", encoding: "u8", offset: 0, value: 255 }]), [0]);
});
check("binary values", async (r) => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const binary = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  for (const value of [all, Buffer.alloc(0), Buffer.from("\r\n"), Buffer.from("\u00e4")]) {
    same(await r.set("bin", value), "OK");
    same(await binary.get("bin"), value);
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
  same(await r.pExpire("e", 200000), 1);
  holds((await r.pTTL("e")) > 190000, "PTTL");
  same(await r.expire("e", 50, "NX"), 0);
  const at = Math.floor(Date.now() / 1000) + 1000;
  same(await r.expireAt("e", at), 1);
  same(await r.expireTime("e"), at);
  same(await r.pExpireTime("e"), at * 1000);
  same(await r.persist("e"), 1);
  same(await r.ttl("never"), -2);
});
check("a key goes when its time is over", async (r) => {
  await r.pSetEx("short", 30, "v");
  await eventually(async () => (await r.exists("short")) === 0);
});
check("keys", async (r) => {
  await r.mSet({ k1: "1", k2: "2" });
  same(await r.exists(["k1", "k2", "never"]), 2);
  same(await r.touch("k1"), 1);
  same(await r.type("k1"), "string");
  same(await r.unlink(["k1", "k2"]), 2);
  await r.set("{r}1", "v");
  same(await r.rename("{r}1", "{r}2"), "OK");
  same(await r.renameNX("{r}2", "{r}3"), 1);
  same(await r.copy("{r}3", "{r}4"), 1);
  await fails(r.rename("{r}never", "{r}5"), "ERR no such key");
  same(await r.objectEncoding("{r}3"), "embstr");
});
check("scan iterator", async (r) => {
  const names = Array.from({ length: 500 }, (_, i) => `scan:${i}`);
  await r.mSet(names.map((name) => [name, "v"]));
  const found = new Set();
  for await (const page of r.scanIterator({ MATCH: "scan:*", COUNT: 50 })) {
    for (const key of page) found.add(key);
  }
  same([...found].sort(), [...names].sort());
  same((await r.keys("scan:1?")).sort(), names.slice(10, 20).sort());
  holds((await r.dbSize()) >= 500, "DBSIZE");
});
check("pipelining by itself", async (r) => {
  const names = Array.from({ length: 500 }, (_, i) => i);
  await Promise.all(names.map((i) => r.set(`auto:${i}`, String(i))));
  same(await Promise.all(names.map((i) => r.get(`auto:${i}`))), names.map(String));
});
check("multi", async (r) => {
  same(await r.multi().set("p", "1").incr("p").get("p").del("p").exec(), ["OK", 2, "2", 1]);
  same(await r.multi().set("q", "1").get("q").execAsPipeline(), ["OK", "1"]);
});
check("an error within multi", async (r) => {
  let error;
  await r.multi().set("pe", "word").incr("pe").get("pe").exec().catch((caught) => (error = caught));
  holds(error?.replies?.length === 3, `three replies: ${error?.message}`);
  same(error.replies[2], "word");
});
check("watch", async (r) => {
  const other = await connect();
  try {
    await other.set("w", "1");
    await other.watch("w");
    same(await other.multi().set("w", "2").exec(), ["OK"]);
    await other.watch("w");
    await r.set("w", "5");
    let error;
    await other.multi().set("w", "6").exec().catch((caught) => (error = caught));
    if (error?.constructor.name !== "WatchError") throw error ?? new Error("EXEC went through");
    same(await r.get("w"), "5");
  } finally {
    other.destroy();
  }
});
check("publish and subscribe", async (r) => {
  const subscriber = await connect();
  try {
    const heard = [];
    await subscriber.subscribe("news", (message, channel) => heard.push([message, channel]));
    await subscriber.pSubscribe("n*", (message, channel) => heard.push([message, channel]));
    same(await r.publish("news", "hello\r\n"), 2);
    await eventually(() => heard.length === 2);
    same(heard[0], ["hello\r\n", "news"]);
    same(await r.pubSubChannels(), ["news"]);
    same(await r.pubSubNumPat(), 1);
    await subscriber.unsubscribe("news");
    await subscriber.pUnsubscribe("n*");
    same(await r.publish("news", "x"), 0);
  } finally {
    subscriber.destroy();
  }
});
check("the server", async (r) => {
  same(await r.ping(), "PONG");
  same(await r.echo("x"), "x");
  holds((await r.info()).includes("redis_version:"), "INFO");
  same({ ...(await r.configGet("databases")) }, { databases: "1" });
  holds((await r.commandCount()) > 20, "COMMAND COUNT");
  same(await r.clientSetName("checker"), "OK");
  same(await r.clientGetName(), "checker");
  holds((await r.clientId()) > 0, "CLIENT ID");
});
check("client list and memory usage", async (r) => {
  holds((await r.clientList()).length > 0, "CLIENT LIST");
  await r.set("mu", "x".repeat(1000));
  holds((await r.memoryUsage("mu")) >= 1000, "MEMORY USAGE");
});
check("reconnects after CLIENT KILL", async (r) => {
  const other = await connect();
  try {
    const id = await other.clientId();
    same(await r.clientKill({ filter: "ID", id }), 1);
    await eventually(() => other.isReady);
    same(await eventually(() => other.set("after-kill", "v").catch(() => null)), "OK");
  } finally {
    other.destroy();
  }
});
check("reconnects after a restart", async (r) => {
  await r.set("kept", "v");
  await restartServer();
  same(await eventually(() => r.get("kept").catch(() => null)), "v");
});
check("flushAll", async (r) => {
  same(await r.flushAll(), "OK");
  same(await r.dbSize(), 0);
});

connect().then(async (client) => {
  console.log(`# node-redis ${require("redis/package.json").version}`);
  const passed = await runAll(client);
  client.destroy();
  process.exit(passed ? 0 : 1);
});
