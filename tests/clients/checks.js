// Named checks, one after the other; the lines are those of checks.py.
"use strict";

const net = require("node:net");
const util = require("node:util");

const port = Number(process.env.PORT);
const checks = [];

function check(name, run) {
  checks.push([name, run]);
}

function same(found, expected) {
  if (!util.isDeepStrictEqual(found, expected)) {
    throw new Error(`${util.inspect(found)} instead of ${util.inspect(expected)}`);
  }
}

function holds(condition, what) {
  if (!condition) throw new Error(`not so: ${what}`);
}

async function fails(promise, text) {
  let reply;
  try {
    reply = await promise;
  } catch (error) {
    if (!error.message.includes(text)) throw error;
    return;
  }
  throw new Error(`${util.inspect(reply)} instead of an error '${text}'`);
}

// Asks again until it is answered; longer than this is a failure.
async function eventually(question) {
  const end = Date.now() + 20000;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error("nothing came");
    await new Promise((done) => setTimeout(done, 10));
  }
}

// Ends the server politely and starts it again with its data; done when it answers.
function restartServer() {
  return new Promise((done, failed) => {
    const control = net.connect(Number(process.env.CONTROL), "127.0.0.1", () => control.write("restart\n"));
    let answer = "";
    control.on("data", (data) => (answer += data));
    control.on("end", () => (answer === "done\n" ? done() : failed(new Error(answer))));
    control.on("error", failed);
  });
}

const LACKING = /unknown (?:sub)?command '?([^',.]*)/i;

async function runAll(...values) {
  let failed = 0;
  for (const [name, run] of checks) {
    try {
      await run(...values);
      console.log(`ok ${name}`);
    } catch (error) {
      // What a pipeline or transaction failed of stands in its parts.
      const parts = [error, ...(error.errors ?? []), ...(error.previousErrors ?? []), ...(error.replies ?? [])];
      const text = parts.map((part) => part?.message ?? "").join(" ").replaceAll("\n", " ").slice(0, 300);
      const lacking = LACKING.exec(text);
      if (lacking) {
        console.log(`lacking ${name}: ${lacking[1].toLowerCase()}`);
      } else {
        failed += 1;
        console.log(`FAILED ${name}: ${text}`);
      }
    }
  }
  return failed === 0;
}

module.exports = { port, check, same, holds, fails, eventually, restartServer, runAll };
