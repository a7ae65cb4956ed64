// The monitor and the panes as a program asks for them, of the small hypervisor whose guest makes ten exits.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { createMachine } from "../web/machine.js";
import { brokenHypervisor, guests } from "./tiny_guests.mjs";

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const core = process.env.MATRYOSHKA_CORE ?? path("build/wasm/matryoshka.wasm");
const alive = [];
after(() => alive.forEach((machine) => machine.destroy()));

async function make(options) {
  const machine = await createMachine({ core, memory: "16M", clock: "virtual", debugExit: 0xf4, noReboot: true, ...options });
  alive.push(machine);
  return machine;
}
const hypervisor = () => make({ kernel: path("build/guest/hypervisor.elf") });
const nextState = (machine, wanted) => new Promise((resolve) => {
  const off = machine.on("state", (value) => {
    if (value.state !== wanted) return;
    off();
    resolve(value);
  });
});

test("a program goes from exit to exit, and asks why", async () => {
  const machine = await hypervisor();
  assert.match(await machine.monitor("layers"), /^L0 this machine\n\* L1 host {2}not in VMX operation\nNo guest/);
  const first = await machine.monitor("until exit");
  assert.match(first, /CPUID {2}.*\n {2}reason 10: .*\n {2}cause: /);
  assert.match(first, /\nL1 host at 0x\w+: \w+ .*\n$/);
  assert.equal(machine.state, "paused");
  const io = await machine.monitor("until exit I/O instruction");
  assert.match(io, /\n {2}reason 30: /);
  const [exits] = [...(await machine.monitor("exits 4")).matchAll(/^ *(\d+) /gm)].map(([, number]) => Number(number)).slice(-1);
  assert.match(await machine.monitor("until exit i/o"), /^Several reasons begin so; .*\n +\d+ .*\n +30 {2}I\/O instruction\n/);
  assert.match(await machine.monitor("until exit lunch"), /^There is no exit reason of that name/);
  assert.match(await machine.monitor(`vmcs diff ${exits} ${exits - 2}`), /^Exit reason\n {2}0x1e {2}I\/O instruction\n {2}0xa {2}CPUID$/m);
  const ended = nextState(machine, "shutdown");
  await machine.start();
  assert.equal((await ended).exitCode, 1);
  // What has ended can still be looked at, and can wait for nothing.
  assert.match(await machine.monitor("exits by-reason"), /^ +2 {2}30 {2}I\/O instruction$/m);
  assert.equal(await machine.monitor("until exit"), "The guest has ended; reset the machine first.\n");
});

test("the panes hold the same, and what an exit changed", async () => {
  const machine = await hypervisor();
  const before = await machine.panes();
  assert.deepEqual([before.layers.length, before.events, before.reasons, before.vmcs], [1, [], [], undefined]);
  await machine.monitor("until exit CPUID");
  assert.equal((await machine.panes()).vmcs.since, undefined, "one exit has nothing to be compared with");
  await machine.monitor("until exit I/O instruction");
  const panes = await machine.panes();
  assert.deepEqual(panes.layers.map(({ depth, name, running }) => [depth, name, running]), [[1, "L1 host", true], [2, "L2 guest", false]]);
  assert.equal(panes.layers[1].state, "launched, active, current");
  assert.deepEqual([panes.layers[1].entries, panes.layers[1].exits], [panes.entries, panes.events.length - panes.entries]);
  assert.deepEqual(panes.reasons, [{ number: 10, title: "CPUID", count: 1 }, { number: 30, title: "I/O instruction", count: 1 }]);
  assert.deepEqual(panes.events.map(({ kind, title }) => [kind, title]), [
    ["exit", "I/O instruction"], ["entry", "entry by VMRESUME"], ["exit", "CPUID"], ["entry", "entry by VMLAUNCH"],
  ]);
  assert.match(panes.events[0].what, /^OUT of 1 byte at port 0x3f8$|^(IN|OUT) of /);
  assert.deepEqual(panes.vmcs.groups.map(({ title }) => title), [
    "Guest-state area", "Host-state area", "VM-execution control fields", "VM-exit control fields", "VM-entry control fields", "VM-exit information fields",
  ]);
  assert.equal(panes.vmcs.since, panes.events[2].number);
  const fields = Object.fromEntries(panes.vmcs.groups.flatMap(({ fields }) => fields.map((field) => [field.title, field])));
  assert.deepEqual(fields["Exit reason"], { title: "Exit reason", encoding: "0x4402", value: "0x1e", words: "I/O instruction", before: "0xa" });
  assert.equal(fields["Host RIP"].before, undefined);
  assert.equal(fields["Guest RIP"].value, panes.events[0].rip);
  assert.match(fields["VM-entry controls"].encoding, /^0x4012$/);
  assert.ok(panes.vmcs.groups[4].fields.includes(fields["VM-entry controls"]));
});

test("looking changes nothing that the guest could see", async () => {
  const hash = async (look) => {
    const machine = await hypervisor();
    if (look) {
      await machine.prompt().open();
      await machine.monitor("until exit CPUID");
      for (const command of ["why", "regs L2", "vmcs", "walk 0x100000", "exits", "step"]) await machine.monitor(command);
      await machine.panes();
    }
    const ended = nextState(machine, "shutdown");
    await machine.start();
    await ended;
    return machine.hash();
  };
  assert.equal(await hash(true), await hash(false));
});

test("a person at the prompt: echo, arrows, Ctrl-C, and a machine that waits", async () => {
  const machine = await make({ kernel: guests.printAndLoop("here ") });
  const prompt = machine.prompt();
  await machine.start();
  await machine.serial(0).expect("here");
  const paused = nextState(machine, "paused");
  await prompt.open();
  assert.equal((await paused).reason, "monitor");
  await prompt.expect("help lists its commands.\r\n\r\nL1 host at 0x");
  await prompt.expect("(matryoshka) ");
  await prompt.write("layerz\x7fs\r");
  await prompt.expect("layerz\b \bs\r\nL0 this machine\r\n");
  await prompt.expect("(matryoshka) ");
  await prompt.write("\x1b[A\x1b[D\x1bOP");
  await prompt.expect("layers");
  await prompt.write("\x1b[B");
  await prompt.expect("\b \b".repeat(6));
  const running = nextState(machine, "running");
  await prompt.write("until exit\rlost");
  await running;
  const again = nextState(machine, "paused");
  await prompt.write("\x03");
  await again;
  await prompt.expect(/\^C\r\nL1 host at 0x.*\r\n\(matryoshka\) $/);
  assert.ok(!prompt.text().includes("lost"));
  // start() and close() both let it go.
  for (const go of [() => machine.start(), () => prompt.close()]) {
    const runs = nextState(machine, "running");
    await go();
    await runs;
    if (machine.state === "running") await machine.pause();
    assert.equal(machine.state, "paused");
    await prompt.open();
  }
  const ended = nextState(machine, "shutdown");
  await prompt.write("quit\r");
  assert.equal((await ended).reason, "quit");
  await machine.reset();
  assert.equal(machine.state, "running");
});

test("a command that waits is given up by pause(), and a second one is refused meanwhile", async () => {
  const machine = await make({ kernel: guests.loop() });
  const waiting = machine.monitor("until exit");
  await assert.rejects(machine.monitor("layers"), /An earlier command still waits/);
  assert.equal(machine.state, "running");
  await machine.pause();
  assert.equal(await waiting, "");
  assert.equal(machine.state, "paused");
  assert.match(await machine.monitor("step 3"), /^L1 host at 0x/);
});

test("a hypervisor that is broken: why fail names the check", async () => {
  const machine = await make({ kernel: brokenHypervisor(readFileSync(path("build/guest/hypervisor.elf"))) });
  const failed = await machine.monitor("until fail");
  assert.match(failed, /failed entry: /);
  const why = await machine.monitor("why fail");
  assert.match(why, /^ {2}rflags_reserved: .*bit 1 is 1\n {4}"Checks on Guest RIP, RFLAGS, and SSP"\n {4}Guest RFLAGS = 0$/m);
  const { events: [last], failedEntries } = await machine.panes();
  assert.deepEqual([last.kind, failedEntries], ["failed-entry", 1]);
});
