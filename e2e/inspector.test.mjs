// The inspector as people meet it: the monitor's prompt in the terminal, and the panes beside it, with a Linux in a Linux.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { brokenHypervisor } from "../tests/tiny_guests.mjs";
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
  const { page, close } = await openPage(browser, `${server.url}?l0=1`);
  await boot(page);
  await command(page, "cat /l0/exits");
  await expectRow(page, /^No guest has been entered yet\.$/);
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

test("by panes: a guest is started with a button, its exits are counted, and a click asks why", async () => {
  const { page, close } = await openPage(browser, `${server.url}?memory=256M&test=1`);
  await boot(page);
  await leaveTerminal(page);
  const panel = page.getByRole("complementary", { name: "Inspector of VT-x" });
  assert.equal(await panel.count(), 0);
  await page.evaluate(() => {
    const { machine } = window, { panes } = machine;
    window.asked = 0;
    machine.panes = () => (window.asked++, panes.call(machine));
  });
  const toggle = await tabTo(page, "button", "Inspector");
  await page.keyboard.press("Enter");
  await panel.getByText("VMX, Intel's VT-x, lets a system run another one").waitFor();
  assert.equal(await toggle.getAttribute("aria-expanded"), "true");
  assert.match((await panel.getByRole("list", { name: "Who runs whom" }).getByRole("listitem").allTextContents()).join("; "), /^L0.*this machine; L1host/);
  await panel.getByRole("button", { name: "Start a guest: vmm" }).click();
  await expectRow(page, /^L2 ~ #$/);
  const layers = panel.getByRole("list", { name: "Who runs whom" });
  await layers.getByText("guest", { exact: false }).filter({ hasText: /^guest/ }).waitFor();
  const count = panel.getByRole("table", { name: "VM exits" }).getByRole("row", { name: "CPUID" }).getByRole("cell");
  assert.ok(Number((await count.textContent()).replaceAll(",", "")) > 0);

  // A list under the pointer stands still while the machine runs, and not when it has stopped.
  await panel.getByRole("table", { name: "The last ones" }).hover();
  // Something in the guest that exits, while the monitor waits for it.
  await toMonitorOrBack(page);
  await expectStatus(page, "Paused");
  await command(page, "until exit CPUID");
  await expectRow(page, /^\(matryoshka\) until exit CPUID$/);
  await toMonitorOrBack(page);
  await expectRow(page, /^L2 ~ #$/);
  await command(page, "grep -c processor /proc/cpuinfo; vmm --help");
  await expectStatus(page, "The monitor holds the machine");
  const last = panel.getByRole("table", { name: "The last ones" }).getByRole("row").nth(1);
  await last.filter({ hasText: "CPUID" }).waitFor();
  await last.getByRole("button", { name: /^why \d+$/ }).click();
  await expectRow(page, /^ *reason 10: the guest executed CPUID$/);

  // The same fields have changed as the monitor says.
  for (const group of await panel.locator("summary").all()) await group.click();
  await panel.getByRole("rowheader", { name: /^Exit reason/ }).waitFor();  // in the last group
  const namesOfChanged = async () =>
    (await panel.getByRole("row").filter({ hasText: "changed; was" }).getByRole("rowheader").allTextContents()).map((words) => words.replace(/0x\w+$/, "")).toSorted();
  const difference = await page.evaluate(async () => {
    const { vmcs, events } = await window.machine.panes();
    return window.machine.monitor(`vmcs diff ${vmcs.since} ${events[0].number}`);
  });
  const named = difference.trimEnd().split("\n").filter((row) => !row.startsWith(" "));
  assert.ok(named.length > 0);
  // The groups fill as they open.
  let changed = await namesOfChanged();
  for (let tries = 0; tries < 100 && changed.length < named.length; ++tries) {
    await page.waitForTimeout(50);
    changed = await namesOfChanged();
  }
  assert.deepEqual(changed, named.toSorted());

  await panel.getByLabel("Linear address").fill("0xffffffff81000000");
  await panel.getByRole("button", { name: "Walk", exact: true }).click();
  await panel.getByRole("status").filter({ hasText: /PML4E at 0x[^]*linear 0xffffffff81000000 is physical 0x/ }).waitFor();

  await toggle.click();
  assert.equal(await panel.count(), 0);
  const asked = await page.evaluate(() => window.asked);
  assert.ok(asked > 1);
  await page.getByRole("button", { name: "Resume" }).click();
  await expectStatus(page, "Running");
  await page.waitForTimeout(1000);
  assert.equal(await page.evaluate(() => window.asked), asked, "a shut panel asks for nothing");
  await close();
});

test("the panes fit into 390 pixels, and speak Russian", async () => {
  const { page, close } = await openPage(browser, `${server.url}?lang=ru&memory=256M`, { viewport: { width: 390, height: 780 } });
  await boot(page);
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  await page.getByRole("button", { name: "Инспектор" }).click();
  const panel = page.getByRole("complementary", { name: "Инспектор VT-x" });
  assert.ok(await overflow() <= 0, `the empty panel is ${await overflow()} pixels too wide`);
  await panel.getByRole("button", { name: "Запустить гостя: vmm" }).click();
  await expectRow(page, /^L2 ~ #$/);
  await panel.getByRole("table", { name: "Последние" }).getByRole("button").first().waitFor();
  for (const group of await panel.locator("summary").all()) await group.click();
  await panel.getByRole("rowheader", { name: /^Guest RIP/ }).waitFor();
  await panel.getByLabel("Линейный адрес").fill("0xffffffff81000000");
  await panel.getByRole("button", { name: "Пройти" }).click();
  await panel.getByRole("status").filter({ hasText: "PML4E at 0x" }).waitFor();
  assert.ok(await overflow() <= 0, `the panel is ${await overflow()} pixels too wide`);
  await close();
});

test("a hypervisor that is broken: the monitor and the panes name the check", async () => {
  const { page, close } = await openPage(browser, server.url);
  await expectStatus(page, "Running");
  await page.getByText("Your own kernel").click();
  const hypervisor = readFileSync(new URL("../build/guest/hypervisor.elf", import.meta.url));
  await page.getByLabel("Kernel", { exact: true }).setInputFiles({
    name: "hypervisor.elf", mimeType: "application/octet-stream", buffer: Buffer.from(brokenHypervisor(hypervisor)),
  });
  await page.getByRole("button", { name: "Boot it" }).click();
  await page.getByRole("button", { name: "Screen reader mode" }).click();
  await expectRow(page, /\S/);
  await page.getByRole("button", { name: "Monitor" }).click();
  await page.getByRole("textbox", { name: "Monitor input" }).waitFor();
  const why = (await ask(page, "why fail")).join("\n");
  assert.match(why, /rflags_reserved: .*bit 1 is 1/);
  assert.match(why, /Guest RFLAGS = 0/);
  await page.getByRole("button", { name: "Inspector" }).click();
  const last = page.getByRole("table", { name: "The last ones" }).getByRole("row").filter({ hasText: "failed entry" });
  await last.getByRole("button", { name: /^why \d+$/ }).click();
  await expectRow(page, /^\(matryoshka\) why \d+$/);
  await page.getByText("of them failed: 1").waitFor();
  await close();
});
