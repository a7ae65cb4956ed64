// A browser, a server of the built page, and an eye on all that must not happen.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { createHandler, listen } from "../web/serve.mjs";

export const dist = process.env.MATRYOSHKA_DIST ?? fileURLToPath(new URL("../web/dist", import.meta.url)).replace(/\/$/, "");

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

// `options.headers(path)` changes headers; `options.before(request, response)` may answer itself by returning true.
export async function serve(options = {}) {
  const handler = createHandler(dist, options);
  const server = createServer(async (request, response) => {
    if (!(await options.before?.(request, response))) await handler(request, response);
  });
  const port = await listen(server, 0, "127.0.0.1");
  return {
    url: `http://127.0.0.1:${port}/`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

// A page that fails its test if it complains, breaks its policy or asks another server for something. `expected` are
// complaints that belong to the test.
export async function openPage(browser, url, { expected = [], ...contextOptions } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, locale: "en-GB", ...contextOptions });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(new URL(url).origin) && !request.url().startsWith("data:")) complaints.push(`asked for ${request.url()}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url);
  return {
    page,
    async close() {
      await context.close();
      const unexpected = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
      assert.deepEqual(unexpected, [], "the page complained");
    },
  };
}

// --- What a person with a keyboard and a screen reader does ----------------------

export async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name });
  for (let i = 0; i < 40; i++) {
    if (await wanted.evaluate((node) => node === document.activeElement).catch(() => false)) return wanted;
    const inTerminal = await page.evaluate(() => document.activeElement?.closest(".terminal") !== null);
    if (inTerminal) await page.keyboard.press("Escape");
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab never reached the ${role} '${name}'`);
}

// Text as a keyboard with that layout types it. Playwright's own type() inserts letters outside its layout without keys.
export async function typeKeys(page, text) {
  const session = await page.context().newCDPSession(page);
  for (const letter of text) {
    await session.send("Input.dispatchKeyEvent", { type: "keyDown", key: letter, text: letter });
    await session.send("Input.dispatchKeyEvent", { type: "keyUp", key: letter });
  }
  await session.detach();
}

export const enterTerminal = (page) => tabTo(page, "textbox", /Terminal input|Ввод терминала/);

export async function leaveTerminal(page) {
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
}

// What the screen reader would read: the rows of the terminal that is shown, in its accessible list.
export async function rows(page) {
  return (await page.locator(".terminal").getByRole("listitem").allTextContents()).map((row) => row.replaceAll("\u00a0", " ").trimEnd());
}

export async function expectRow(page, pattern, timeout = 90_000) {
  const end = Date.now() + timeout;
  for (;;) {
    const found = (await rows(page)).findLast((row) => pattern.test(row));
    if (found !== undefined) return found;
    if (Date.now() > end) assert.fail(`no row matches ${pattern}:\n${(await rows(page)).join("\n").trimEnd()}`);
    await page.waitForTimeout(100);
  }
}

export async function expectStatus(page, word, timeout = 90_000) {
  await page.getByRole("status").filter({ hasText: word }).first().waitFor({ timeout });
}

// Boots the small Linux and leaves the keyboard in its shell, with the screen reader mode on.
export async function boot(page) {
  await expectStatus(page, /Running|Работает/);
  await leaveTerminal(page);
  await tabTo(page, "button", /Screen reader mode|Режим экранного диктора/);
  await page.keyboard.press("Space");
  await enterTerminal(page);
  await expectRow(page, /# $|#$/);
}

export async function command(page, line) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
}
