// The inspector as people meet it: the monitor's prompt in the terminal, and the panes beside it, with a Linux in a Linux.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { boot, command, enterTerminal, expectRow, expectStatus, launch, leaveTerminal, openPage, rows, serve, tabTo } from "./browser.mjs";

let browser, server;
before(async () => {
  browser = await launch();
  server = await serve();
});
after(async () => {
  await browser?.close();
  server?.close();
});

const toMonitorOrBack = (page) => page.keyboard.press("Control+Alt+m");

// A command of the monitor: answers when the prompt is there again.
async function ask(page, line) {
  await command(page, line);
  const asked = new RegExp(`^\\(matryoshka\\) ${line}$`);
  await expectRow(page, asked);
  for (const end = Date.now() + 90_000; Date.now() < end; await page.waitForTimeout(50)) {
    const screen = (await rows(page)).filter((row) => row !== "");
    const from = screen.findLastIndex((row) => asked.test(row));
    if (screen.at(-1) === "(matryoshka)" && from < screen.length - 1) return screen.slice(from + 1, -1);
  }
  assert.fail(`no answer to ${line}:\n${(await rows(page)).join("\n")}`);
}

test("in the terminal alone: a guest is started, stopped at an exit, and asked why", async () => {
  const { page, close } = await openPage(browser, `${server.url}?memory=256M`);
  await boot(page);
  await command(page, "vmm");
  await toMonitorOrBack(page);
  await expectStatus(page, "Paused");
  await expectRow(page, /^L\d .* at 0x/);
  for (let i = 0; i < 2; i++) {
    const arrived = (await ask(page, "until exit CPUID")).join("\n");
    assert.match(arrived, /reason 10: /);
    assert.match(arrived, /^L1 host at 0x/m);
    await expectStatus(page, "Paused");
  }
  assert.match((await ask(page, "why")).join(" "), /CPUID.* cause: /);
  const numbers = (await ask(page, "exits 5")).map((row) => /^ *(\d+) +tick/.exec(row)).filter(Boolean).map(([, number]) => Number(number));
  assert.equal(numbers.length, 5);
  assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + i));
  // Entries and exits take turns, and the last was an exit.
  const difference = await ask(page, `vmcs diff ${numbers[2]} ${numbers[4]}`);
  assert.ok(difference.includes("Guest RIP"), difference.join("\n"));
  await command(page, "cont");
  await expectStatus(page, "Running");
  await toMonitorOrBack(page);
  await expectRow(page, /^L2 ~ #$/);
  await command(page, "echo six times seven is $((6 * 7))");
  await expectRow(page, /^six times seven is 42$/);
  await close();
});

test("the console is kept while the monitor is shown, and a machine that it holds says so", async () => {
  const { page, close } = await openPage(browser, server.url);
  await boot(page);
  await command(page, "echo kept-$((1 + 1))");
  await expectRow(page, /^kept-2$/);
  await leaveTerminal(page);
  const button = await tabTo(page, "button", "Monitor");
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "Monitor input" }).waitFor();
  assert.equal(await button.getAttribute("aria-pressed"), "true");
  assert.match((await ask(page, "layers")).join("\n"), /^L0 this machine\n.*L1 host {2}.*\nNo guest has been entered yet/);
  assert.match((await ask(page, "nonsense")).join("\n"), /There is no command "nonsense"/);
  // What is waited for is given up by Ctrl-C, and the arrow brings the line back.
  await command(page, "until exit");
  await expectStatus(page, "Running");
  await page.keyboard.press("Control+c");
  await expectStatus(page, "Paused by the monitor");
  await page.keyboard.press("ArrowUp");
  await expectRow(page, /^\(matryoshka\) until exit$/);
  await page.keyboard.press("ArrowDown");
  await toMonitorOrBack(page);
  await expectStatus(page, "The monitor holds the machine");
  await expectRow(page, /^kept-2$/);
  await page.getByRole("button", { name: "Resume" }).click();
  await expectStatus(page, "Running");
  await enterTerminal(page);
  await command(page, "echo runs-$((1 + 2))");
  await expectRow(page, /^runs-3$/);
  await close();
});
