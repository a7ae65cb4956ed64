// The page in Debian's Firefox, driven through WebDriver BiDi, which stock Firefox speaks by itself.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { serve } from "./browser.mjs";

const program = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

// Commands of the protocol over one WebSocket, and what the page writes to its console.
async function startFirefox() {
  const profile = mkdtempSync(join(tmpdir(), "matryoshka-firefox-"));
  // No service of the browser's own may reach for the network in the middle of a test.
  writeFileSync(join(profile, "user.js"), Object.entries({
    "app.normandy.enabled": false, "services.settings.server": "data:,", "datareporting.policy.dataSubmissionEnabled": false,
    "browser.shell.checkDefaultBrowser": false, "remote.active-protocols": 1,
  }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`).join("\n"));
  const browser = spawn(program, ["--headless", "--remote-debugging-port=0", "--no-remote", "--profile", profile, "about:blank"],
    { stdio: ["ignore", "ignore", "pipe"] });
  const address = await new Promise((resolve, reject) => {
    let text = "";
    browser.once("exit", () => reject(new Error(`Firefox did not start: ${text}`)));
    browser.stderr.on("data", (piece) => {
      text += piece;
      const match = /WebDriver BiDi listening on (ws:\S+)/.exec(text);
      if (match) resolve(match[1]);
    });
  });
  const socket = new WebSocket(`${address}/session`);
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: () => reject(new Error("no connection to Firefox")) }));
  const waiting = new Map();
  const complaints = [];
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "log.entryAdded" && message.params.level === "error") complaints.push(message.params.text);
    const call = waiting.get(message.id);
    if (!call) return;
    waiting.delete(message.id);
    if (message.type === "error") call.reject(new Error(message.message));
    else call.resolve(message.result);
  };
  let next = 1;
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    const id = next++;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, method, params }));
  });
  await send("session.new", { capabilities: {} });
  await send("session.subscribe", { events: ["log.entryAdded"] });
  const { contexts: [{ context }] } = await send("browsingContext.getTree");
  return {
    complaints,
    open: (url) => send("browsingContext.navigate", { context, url, wait: "complete" }),
    async evaluate(expression) {
      const { result, exceptionDetails } = await send("script.evaluate", { expression, target: { context }, awaitPromise: true });
      assert.equal(exceptionDetails, undefined);
      return result.value;
    },
    type: (text) => send("input.performActions", {
      context, actions: [{ type: "key", id: "keyboard", actions: [...text].flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]) }],
    }),
    async close() {
      socket.close();
      const gone = new Promise((resolve) => browser.once("exit", resolve));
      browser.kill();
      await gone;
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

test("Firefox boots the page, and a person types in it", { skip: !existsSync(program) && `${program} is not installed`, timeout: 120_000 }, async () => {
  const server = await serve();
  const firefox = await startFirefox();
  try {
    await firefox.open(`${server.url}?test=1`);
    await firefox.evaluate("(async () => { while (!window.machine) await new Promise((next) => setTimeout(next, 100)); })()");
    await firefox.evaluate("window.machine.serial(0).expect('# ', { timeout: 60000 }).then(() => 1)");
    const enter = "\uE007";
    await firefox.type(`uname -a${enter}`);
    assert.match(await firefox.evaluate("window.machine.serial(0).expect(/Linux .*x86_64/).then((match) => match[0])"), /Linux matryoshka/);
    await firefox.type(`echo Привет, мир | tr -d ,${enter}`);
    assert.equal(await firefox.evaluate("window.machine.serial(0).expect(/Привет мир/).then((match) => match[0])"), "Привет мир");
    assert.equal(await firefox.evaluate("document.getElementById('machine').dataset.state"), "running");
    assert.deepEqual(firefox.complaints, []);
  } finally {
    await firefox.close();
    server.close();
  }
});
