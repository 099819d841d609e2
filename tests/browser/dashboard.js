// What a user does with the dashboard, step by step, in a real Chromium. Any word on the console is a failure.
'use strict';
const assert = require('assert');
const { spawn } = require('child_process');
const fs = require('fs');
const net = require('net');
const path = require('path');
const puppeteer = require('puppeteer-core');

const argument = name => { const at = process.argv.indexOf(name); return at < 0 ? undefined : process.argv[at + 1]; };
const binary = argument('--binary') || 'target/debug/rusty-lsm';
const shots = process.argv.includes('--shots');
const WAIT_MS = 30000;
const pause = ms => new Promise(done => setTimeout(done, ms));

function freePort() {
  return new Promise(done => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

function start(port, http, directory, more = []) {
  const words = ['start', '--port', port, '--http-port', http, '--data-dir', directory, '--shards', '2', '--memtable-size', '4MB', ...more];
  const child = spawn(binary, words.map(String), { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', bytes => { said += bytes; });
  const ready = new Promise((done, failed) => {
    const look = setInterval(() => {
      if (said.includes('\n  ready ')) { clearInterval(look); done(); }
    }, 20);
    child.on('exit', code => { clearInterval(look); failed(new Error(`the server ended (${code}):\n${said}`)); });
  });
  return { child, ready, stop: () => new Promise(done => { child.removeAllListeners('exit'); child.on('exit', done); child.kill('SIGTERM'); }) };
}

/** Commands over the Redis protocol; answers nothing but when all replies have come. */
function send(port, commands) {
  return new Promise((done, failed) => {
    const socket = net.connect(port, '127.0.0.1');
    let replies = 0;
    socket.on('data', bytes => {
      for (const byte of bytes) if (byte === 10) replies += 1;
      if (replies >= commands.length) { socket.end(); done(); }
    });
    socket.on('error', failed);
    for (const words of commands) {
      socket.write(`*${words.length}\r\n` + words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(''));
    }
  });
}

async function main() {
  const home = fs.mkdtempSync(path.join('target', 'browser', 'data-'));
  const [port, http] = [await freePort(), await freePort()];
  let server = start(port, http, path.join(home, 'd'));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM, headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  const steps = [];
  const step = text => { steps.push(text); console.log(`ok  ${text}`); };
  try {
    await server.ready;
    const page = await browser.newPage();
    page.setDefaultTimeout(WAIT_MS);
    await page.setViewport({ width: 1400, height: 1000 });
    const complaints = [];
    page.on('console', message => { if (['error', 'warn'].includes(message.type())) complaints.push(message.text()); });
    page.on('pageerror', error => complaints.push(String(error)));
    page.on('requestfailed', request => complaints.push(`${request.url()}: ${request.failure().errorText}`));
    const foreign = [];
    page.on('request', request => { if (!request.url().startsWith(`http://127.0.0.1:${http}/`) && !request.url().startsWith('data:')) foreign.push(request.url()); });
    let dialogs = 0;
    page.on('dialog', dialog => { dialogs += 1; dialog.accept(); });
    const text = id => page.$eval(`#${id}`, element => element.textContent);
    const value = id => page.$eval(`#${id}`, element => element.value);
    const until = (what, ...rest) => page.waitForFunction(what, { timeout: WAIT_MS }, ...rest);
    const says = (id, wanted) => until((place, words) => document.getElementById(place).textContent.includes(words), id, wanted);
    const type = async (id, words) => {
      await page.$eval(`#${id}`, element => { element.value = ''; });
      await page.type(`#${id}`, words);
    };

    await page.goto(`http://127.0.0.1:${http}/`);
    await says('state', 'ready');
    step('it loads');

    const markup = '<script>document.title = "taken"</script><img src=x onerror=alert(1)>';
    await send(port, [['SET', 'usr:html', markup], ['SET', '<b>bold</b>', '1'], ['SET', 'usr:1', 'Ada']]);
    await until(() => /^[≈ ]*3$/.test(document.getElementById('t-keys').textContent.trim()));
    await until(() => document.querySelectorAll('#c-ops polyline').length === 2);
    step('it follows what happens');

    await type('q', 'usr:');
    await page.click('#search button[type=submit]');
    await until(() => document.querySelectorAll('#found button').length === 2);
    const names = await page.$$eval('#found button', buttons => buttons.map(button => button.textContent).sort());
    assert.deepStrictEqual(names, ['usr:1', 'usr:html']);
    await page.evaluate(() => [...document.querySelectorAll('#found button')].find(b => b.textContent === 'usr:html').click());
    await until(() => document.getElementById('value').value !== '');
    assert.strictEqual(await value('value'), markup);
    await page.select('#how', 'false');
    await type('q', 'bold');
    await page.keyboard.press('Enter');
    await until(() => document.querySelectorAll('#found button').length === 1 && document.querySelector('#found button').textContent === '<b>bold</b>');
    assert.strictEqual(await page.$('#found b'), null);
    assert.strictEqual(await page.title(), 'rusty-lsm');
    assert.strictEqual(dialogs, 0);
    step('it finds keys, and what looks like a page stays text');

    await type('key', 'usr:1');
    await page.click('#load');
    await until(() => document.getElementById('value').value === 'Ada');
    await type('value', 'Ada Lovelace ä');
    await page.click('#save');
    await says('message', 'Saved');
    await page.click('#load');
    await until(() => document.getElementById('value').value === 'Ada Lovelace ä');
    await type('ttl', '500');
    await page.click('#set-ttl');
    await says('message', 'It ends in 500 s');
    await page.click('#load');
    await until(() => { const ttl = Number(document.getElementById('ttl').value); return ttl > 400 && ttl <= 500; });
    await page.$eval('#ttl', element => { element.value = ''; });
    await page.click('#set-ttl');
    await says('message', 'does not end');
    step('it edits a key and its end');

    for (const key of ['a/b?c#d%', 'search', 'ä ö', '..x']) {
      await type('key', key);
      await type('value', `of ${key}`);
      await page.click('#save');
      await says('message', 'Saved');
      await page.$eval('#value', element => { element.value = ''; });
      await page.click('#load');
      await until(wanted => document.getElementById('value').value === wanted, `of ${key}`);
    }
    step('it names any key');

    await type('key', 'usr:1');
    await page.click('#load');
    await until(() => document.getElementById('value').value.startsWith('Ada'));
    await page.click('#delete');
    await says('message', 'Deleted');
    complaints.length = 0; // Chromium writes each 404 down, also one that is expected.
    await page.click('#load');
    await says('message', 'no such key');
    assert(complaints.every(words => words.includes('404')), complaints.join('\n'));
    complaints.length = 0;
    step('it deletes');

    // By keyboard alone.
    await page.focus('#q');
    for (let presses = 0; presses < 60 && await page.evaluate(() => document.activeElement.id) !== 'delete'; presses += 1) await page.keyboard.press('Tab');
    assert.strictEqual(await page.evaluate(() => document.activeElement.id), 'delete');
    const unnamed = await page.$$eval('input, select, textarea', fields => fields.filter(field => !field.labels.length).map(field => field.id));
    assert.deepStrictEqual(unnamed, []);
    step('a keyboard reaches everything, and each field has a name');

    assert.deepStrictEqual(complaints, []);
    await page.setViewport({ width: 375, height: 760, isMobile: true, hasTouch: true });
    await pause(300);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.strictEqual(overflow, 0, `${overflow} pixels beyond a phone's edge`);
    step('it fits a phone');
    if (shots) await page.screenshot({ path: 'target/browser/phone.png', fullPage: true });
    await page.setViewport({ width: 1400, height: 1000 });

    await says('state', 'ready');
    // A change between phone and desk loads the page anew, and ends what was under way.
    assert.deepStrictEqual(complaints.filter(words => !words.includes('ERR_ABORTED')), []);
    assert.deepStrictEqual(foreign, []);
    step('nothing was complained of, nobody else was asked');

    if (shots) {
      const value100 = 'x'.repeat(900);
      let at = 0;
      for (const began = Date.now(); Date.now() - began < 45000;) {
        const commands = [];
        const count = 1500 + 900 * Math.sin(Date.now() / 4000);
        for (let n = 0; n < count; n += 1) { at += 1; commands.push(['SET', `usr:${(at * 7919) % 60000}`, value100 + at]); commands.push(['GET', `usr:${(at * 104729) % 90000}`]); }
        await send(port, commands);
        await pause(180);
      }
      await page.evaluate(() => { document.getElementById('q').value = 'usr:1'; document.getElementById('how').value = 'true'; });
      await page.click('#search button[type=submit]');
      await until(() => document.querySelectorAll('#found button').length > 50);
      await page.evaluate(() => document.querySelector('#found button').click());
      await until(() => document.getElementById('value').value !== '');
      fs.mkdirSync('docs', { recursive: true });
      await page.evaluate(() => window.scrollTo(0, 0));
      for (const [scheme, file] of [['light', 'docs/dashboard.png'], ['dark', 'docs/dashboard-dark.png']]) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
        await pause(300);
        await page.screenshot({ path: file, fullPage: true });
        console.log(`    ${file}`);
      }
    }

    const before = complaints.length;
    await server.stop();
    await until(() => document.getElementById('state').textContent !== 'ready');
    server = start(port, http, path.join(home, 'd'));
    await server.ready;
    await says('state', 'ready');
    complaints.length = before;
    step('it comes back with the server');

    await server.stop();
    const secret = path.join(home, 'token');
    fs.writeFileSync(secret, 'open sesame\n', { mode: 0o600 });
    server = start(port, http, path.join(home, 'd'), ['--http-token-file', secret]);
    await server.ready;
    await until(() => document.getElementById('login').open);
    await page.type('#secret', 'wrong');
    await page.keyboard.press('Enter');
    await until(() => document.getElementById('login').open && document.getElementById('login-note').textContent.includes('not right'));
    // A request of the wrong token, whose refusal comes when the right one is already there.
    await page.evaluate(() => {
      const real = window.fetch;
      const held = new Promise(free => { window.freeRefusal = free; });
      window.fetch = (...request) => real(...request).then(async response => { await held; return response; });
      window.refused = ask('GET', '/slowlog').then(() => 'answered', error => error.status);
      window.fetch = real;
    });
    await page.type('#secret', 'open sesame');
    await page.keyboard.press('Enter');
    await says('state', 'ready');
    assert.strictEqual(await page.evaluate(() => { window.freeRefusal(); return window.refused; }), 401);
    assert.strictEqual(await page.$eval('#login', dialog => dialog.open), false, 'a late refusal of other words asks again');
    step('it asks for the token');
    console.log(`all ${steps.length} steps passed`);
  } finally {
    await browser.close();
    server.child.removeAllListeners('exit');
    server.child.kill('SIGKILL');
    fs.rmSync(home, { recursive: true, force: true });
  }
}

main().catch(error => { console.error(`FAILED: ${error.stack || error}`); process.exit(1); });
