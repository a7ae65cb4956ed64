// The page as people meet it: by keyboard and by what a screen reader finds, in Debian's Chromium.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { guests } from "../tests/tiny_guests.mjs";
import { createMachine } from "../web/machine.js";
import { boot, command, dist, enterTerminal, expectRow, expectStatus, launch, leaveTerminal, openPage, rows, serve, tabTo, typeKeys } from "./browser.mjs";

let browser, server;
before(async () => {
  browser = await launch();
  server = await serve();
});
after(async () => {
  await browser?.close();
  server?.close();
});

test("boots, and a person with a keyboard uses it", async () => {
  const { page, close } = await openPage(browser, server.url);
  await boot(page);
  assert.equal(await page.locator("#machine").getAttribute("data-state"), "running");
  await command(page, "uname -a");
  await expectRow(page, /^Linux .* x86_64 GNU\/Linux/);
  await command(page, "grep -c ^processor /proc/cpuinfo; grep -m1 vendor_id /proc/cpuinfo");
  await expectRow(page, /^vendor_id\s*: GenuineIntel/);
  await command(page, "echo 'kept in a file' > /tmp/note; sync; cat /tmp/note");
  await expectRow(page, /^kept in a file$/);
  await typeKeys(page, "echo Привет, мир | tr -d ,");
  await page.keyboard.press("Enter");
  await expectRow(page, /^Привет мир$/);
  await close();
});

test("works in a window of 390 pixels, and the guest learns its size", async () => {
  const { page, close } = await openPage(browser, server.url, { viewport: { width: 390, height: 780 } });
  await boot(page);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  await command(page, "stty size");
  const [, , columns] = /^(\d+) (\d+)$/.exec(await expectRow(page, /^\d+ \d+$/));
  assert.ok(Number(columns) > 30 && Number(columns) < 70, `${columns} columns`);
  await close();
});

test("on a phone a bar has the keys that its keyboard lacks", async () => {
  const phone = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true };
  const { page, close } = await openPage(browser, server.url, phone);
  await expectStatus(page, /Running/);
  await page.getByRole("button", { name: "Screen reader mode" }).tap();
  await expectRow(page, /# $|#$/);
  const bar = page.getByRole("toolbar", { name: "Keys for the terminal" });
  const key = (name) => bar.getByRole("button", { name });
  for (const button of await bar.getByRole("button").all()) {
    const { width, height, x } = await button.boundingBox();
    assert.ok(width >= 40 && height >= 44 && x >= 0 && x + width <= 390, `a key of ${width} by ${height} at ${x}`);
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  await page.locator("#terminal").tap();
  const inTerminal = () => page.getByRole("textbox", { name: "Terminal input" }).evaluate((node) => node === document.activeElement);
  // Tab completes; the arrow brings the line back, and one to the left inserts before its end.
  await page.keyboard.type("ech");
  await key("Tab").tap();
  assert.ok(await inTerminal(), "the keyboard stays");
  await page.keyboard.type(" one-two");
  await page.keyboard.press("Enter");
  await expectRow(page, /^one-two$/);
  await key("Arrow up").tap();
  await key("Arrow left").tap();
  await page.keyboard.type("x");
  await page.keyboard.press("Enter");
  await expectRow(page, /^one-twxo$/);
  // Ctrl is for one key. What it ends says first that it runs: a ^C before that would find only the shell.
  await page.keyboard.type("sh -c 'echo now-$((1+1)); exec sleep 1000'");
  await page.keyboard.press("Enter");
  await expectRow(page, /^now-2$/);
  await key("Control").tap();
  assert.equal(await key("Control").getAttribute("aria-pressed"), "true");
  await page.keyboard.type("c");
  assert.equal(await key("Control").getAttribute("aria-pressed"), "false");
  await page.keyboard.type("echo c-was-a-letter");
  await page.keyboard.press("Enter");
  await expectRow(page, /^c-was-a-letter$/);
  await close();
});

test("the bar of keys is not there in a wide window with a mouse, and speaks Russian", async () => {
  const { page, close } = await openPage(browser, `${server.url}?lang=ru`);
  await expectStatus(page, "Работает");
  const bar = page.getByRole("toolbar", { name: "Клавиши для терминала" });
  assert.equal(await bar.count(), 0);
  await page.setViewportSize({ width: 390, height: 780 });
  await bar.getByRole("button", { name: "Стрелка вверх" }).waitFor();
  await close();
});

test("the guest follows when the window changes its size", async () => {
  const { page, close } = await openPage(browser, `${server.url}?test=1`);
  await boot(page);
  const size = async () => {
    await command(page, "clear; stty size");
    return expectRow(page, /^\d+ \d+$/);
  };
  const before = await size();
  await page.setViewportSize({ width: 700, height: 640 });
  let after = before;
  for (const end = Date.now() + 20_000; after === before && Date.now() < end;) {
    await page.waitForTimeout(500);
    after = await size();
  }
  const [rowsThen, columnsThen] = before.split(" ").map(Number), [rowsNow, columnsNow] = after.split(" ").map(Number);
  assert.ok(columnsNow < columnsThen && rowsNow < rowsThen, `${before} became ${after}`);
  await close();
});

test("memory that the browser does not give is a sentence", async () => {
  // The worker's own WebAssembly.Memory refuses what a tight browser would refuse: more than 500 MB at once.
  const tight = await serve({
    async before(request, response) {
      if (!request.url.startsWith("/worker.js")) return false;
      const code = await (await fetch(`${server.url}worker.js`)).text();
      response.writeHead(200, { "Content-Type": "text/javascript" }).end(`${code}
        WebAssembly.Memory = class extends WebAssembly.Memory {
          constructor(limits) {
            if (limits.initial > 8000) throw new RangeError("WebAssembly.Memory(): could not allocate memory");
            super(limits);
          }
        };`);
      return true;
    },
  });
  for (const [lang, words] of [["en", /The browser did not give the 1\d\d\d MB of memory/], ["ru", /Браузер не дал 1\d\d\d МБ памяти/]]) {
    const { page, close } = await openPage(browser, `${tight.url}?memory=1G&lang=${lang}`);
    await page.getByRole("alert").filter({ hasText: words }).waitFor();
    assert.equal(await page.locator("#machine").getAttribute("data-state"), "error");
    await close();
  }
  const { page, close } = await openPage(browser, `${tight.url}?memory=64M`);
  await expectStatus(page, "Running");
  await close();
  tight.close();
});

test("pause, resume, reset, text size and language, by their names", async () => {
  const { page, close } = await openPage(browser, server.url);
  await boot(page);
  await leaveTerminal(page);
  await tabTo(page, "button", "Pause");
  await page.keyboard.press("Enter");
  await expectStatus(page, "Paused");
  await page.keyboard.press("Enter");
  await expectStatus(page, "Running");
  await tabTo(page, "button", "Larger text");
  await page.keyboard.press("Enter");
  await tabTo(page, "button", "Reset");
  await page.keyboard.press("Enter");
  await enterTerminal(page);
  await expectRow(page, /# $|#$/);
  await leaveTerminal(page);
  await tabTo(page, "button", "Switch to Russian");
  await page.keyboard.press("Enter");
  await expectStatus(page, "Работает");
  await page.getByRole("button", { name: "Пауза" }).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "ru");
  await close();
});

test("asks before closing after the first typed key, and not earlier", async () => {
  for (const typed of [false, true]) {
    const { page, close } = await openPage(browser, server.url);
    await boot(page);
    if (typed) await page.keyboard.press("x");
    let asked = false;
    page.on("dialog", async (dialog) => {
      asked ||= dialog.type() === "beforeunload";
      await dialog.accept();
    });
    await page.close({ runBeforeUnload: true });
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(asked, typed);
    await close();
  }
});

test("an idle guest leaves the processor alone", async () => {
  const { page, close } = await openPage(browser, `${server.url}?test=1`);
  await boot(page);
  await page.waitForTimeout(2000);
  const spent = () => page.evaluate(async () => (await window.machine.stats()).ticks);
  const before = await spent();
  await page.waitForTimeout(3000);
  const share = ((await spent()) - before) / 3 / 50e6;  // of a core that does 50 million a second
  assert.ok(share < 0.03, `${(share * 100).toFixed(1)} % of a core`);
  await close();
});

test("with the virtual clock two boots are equal, in the page and in ./matryoshka", async () => {
  const tick = 30_000_000, options = { clock: "virtual", memory: "64M", cmdline: "console=ttyS0 quiet" };
  const inPage = async () => {
    const { page, close } = await openPage(browser, `${server.url}?clock=virtual`);
    const value = await page.evaluate(async ([tick, options]) => {
      const { createMachine } = await import("./machine.js");
      const { core, kernel, initrd } = await (await fetch("machine.json")).json();
      const machine = await createMachine({ ...options, core, kernel, initrd });
      const paused = new Promise((resolve) => machine.on("state", ({ reason }) => reason === "tick-limit" && resolve()));
      await machine.start({ stopAt: tick });
      await paused;
      return machine.hash();
    }, [tick, options]);
    await close();
    return value;
  };
  const machine = await createMachine({ ...options, core: `${dist}/matryoshka.wasm`, kernel: `${dist}/kernel.bin`, initrd: `${dist}/initrd.bin` });
  const paused = new Promise((resolve) => machine.on("state", ({ reason }) => reason === "tick-limit" && resolve()));
  await machine.start({ stopAt: tick });
  await paused;
  const inNode = await machine.hash();
  machine.destroy();
  assert.deepEqual([await inPage(), await inPage()], [inNode, inNode]);
});

test("a machine in the page is saved whole and with changes, and goes on from them", async () => {
  const { page, close } = await openPage(browser, `${server.url}?test=1`);
  await boot(page);
  const { sizes, hashes } = await page.evaluate(async () => {
    const { machine } = window;
    await machine.pause();
    const base = await machine.saveState();
    await machine.start();
    await machine.serial(0).write("echo later $((6*7))\n");
    await machine.serial(0).expect("later 42");
    await machine.pause();
    const state = await machine.saveState({ changes: true }), hash = await machine.hash();
    await machine.loadState(base);
    const between = await machine.hash();
    await machine.loadState(state, { base });
    return { sizes: [base.length, state.length], hashes: [hash, between, await machine.hash()] };
  });
  assert.ok(sizes[1] < sizes[0] / 10, `${sizes}`);
  assert.equal(hashes[2], hashes[0]);
  assert.notEqual(hashes[1], hashes[0]);
  await close();
});

test("a kernel of one's own: it boots, and what is no kernel is a sentence", async () => {
  const { page, close } = await openPage(browser, server.url);
  await expectStatus(page, "Running");
  const choose = async (name, bytes) => {
    const own = page.getByText("Your own kernel");
    if (!(await page.getByRole("button", { name: "Boot it" }).isVisible())) await own.click();
    await page.getByLabel("Kernel", { exact: true }).setInputFiles({ name, mimeType: "application/octet-stream", buffer: Buffer.from(bytes) });
    await page.getByRole("button", { name: "Boot it" }).click();
  };
  await choose("notes.txt", new TextEncoder().encode("no kernel ".repeat(500)));
  await page.getByRole("alert").filter({ hasText: "notes.txt" }).waitFor();
  await choose("tiny", guests.printAndLoop("a tiny guest is here\r\n"));
  await expectStatus(page, "Running");
  await page.getByRole("button", { name: "Screen reader mode" }).click();
  await expectRow(page, /a tiny guest is here/);
  await choose("triple", guests.halt());
  await expectStatus(page, "nothing can wake it");
  await choose("notes.txt", new TextEncoder().encode("no kernel ".repeat(500)));
  await page.getByRole("button", { name: "Back to the small Linux" }).click();
  await expectStatus(page, "Running");
  await close();
});

test("what the guest writes cannot reach the clipboard, the title or another page", async () => {
  const { page, close } = await openPage(browser, server.url);
  await expectStatus(page, "Running");
  const evil = "\x1b]52;c;ZXZpbA==\x07\x1b]0;evil\x07\x1b]2;evil\x07\x1b[21t\x1b[14tdone\r\n";
  await page.getByText("Your own kernel").click();
  await page.getByLabel("Kernel", { exact: true }).setInputFiles({ name: "evil", mimeType: "application/octet-stream", buffer: Buffer.from(guests.printAndLoop(evil)) });
  await page.getByRole("button", { name: "Boot it" }).click();
  await page.getByRole("button", { name: "Screen reader mode" }).click();
  await expectRow(page, /^done$/);
  assert.match(await page.title(), /^Matryoshka/);
  await close();
});

test("a server with wrong types does no harm", async () => {
  const wrong = await serve({ headers: (path) => (/\.(wasm|bin|json)$/.test(path) ? { "Content-Type": "text/plain" } : {}) });
  const { page, close } = await openPage(browser, wrong.url);
  await expectStatus(page, "Running");
  await close();
  wrong.close();
});

test("a policy that forbids WebAssembly is explained", async () => {
  const strict = await serve({ headers: () => ({ "Content-Security-Policy": "script-src 'self'; style-src 'self' 'unsafe-inline'" }) });
  const { page, close } = await openPage(browser, strict.url, { expected: [/wasm|WebAssembly|unsafe-eval|policy: script-src/i] });
  await page.getByRole("alert").filter({ hasText: "Content-Security-Policy forbids WebAssembly" }).waitFor();
  await close();
  strict.close();
});

test("a download that fails is explained, and can be tried again", async () => {
  let broken = "missing";
  const flaky = await serve({
    before(request, response) {
      if (!request.url.startsWith("/initrd.bin") || broken === "") return false;
      if (broken === "missing") response.writeHead(404).end();
      if (broken === "truncated") response.writeHead(200, { "Content-Type": "application/octet-stream" }).end("short");
      if (broken === "cut") response.destroy();
      return true;
    },
  });
  const { page, close } = await openPage(browser, flaky.url, { expected: [/404|Failed to load|ERR_/] });
  const alert = page.getByRole("alert");
  await alert.filter({ hasText: "'initrd64.lz4' failed: the server answered 404" }).waitFor();
  broken = "truncated";
  await page.getByRole("button", { name: "Try again" }).click();
  await alert.filter({ hasText: "'initrd64.lz4' has 5 bytes" }).waitFor();
  broken = "cut";
  await page.getByRole("button", { name: "Try again" }).click();
  await alert.filter({ hasText: "'initrd64.lz4' failed; look at the connection" }).waitFor();
  broken = "";
  await page.getByRole("button", { name: "Try again" }).click();
  await expectStatus(page, "Running");
  await close();
  flaky.close();
});

test("progress is exact to the byte", async () => {
  const slow = await serve({
    async before(request) {
      if (request.url.startsWith("/initrd.bin")) await new Promise((resolve) => setTimeout(resolve, 1000));
      return false;
    },
  });
  const { page, close } = await openPage(browser, slow.url);
  const bar = page.getByRole("progressbar", { name: "Download" });
  await bar.waitFor();
  await page.waitForFunction(async () => {
    const { core, kernel, initrd, drives } = await (await fetch("machine.json")).json();
    const total = [core, kernel, initrd, ...drives].reduce((sum, file) => sum + file.size, 0);
    return Math.abs(document.querySelector("progress").value - (total - initrd.size) / total) < 1e-9;
  });
  await expectStatus(page, "Running");
  await close();
  slow.close();
});

test("as a file:// the page says what to do", async () => {
  const { page, close } = await openPage(browser, `file://${dist}/index.html`, { expected: [/file:|CORS|origin|policy|ERR_FAILED/i] });
  await page.getByText("must come from a web server").waitFor();
  await close();
});

test("the terminal can be left and entered again, and says how", async () => {
  const { page, close } = await openPage(browser, server.url);
  await boot(page);
  const terminal = page.getByRole("textbox", { name: "Terminal input" });
  assert.equal(await terminal.evaluate((node) => node === document.activeElement), true);
  await page.getByText("Esc, then Tab leaves the terminal.").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await terminal.evaluate((node) => node === document.activeElement), true, "Tab alone is the guest's");
  await leaveTerminal(page);
  assert.equal(await terminal.evaluate((node) => node === document.activeElement), false);
  assert.ok((await rows(page)).length > 5);
  await close();
});
