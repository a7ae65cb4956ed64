// createMachine() in Node: the object that the page and other people's programs use.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { MachineError, createMachine } from "../web/machine.js";
import { guests } from "./tiny_guests.mjs";

const core = process.env.MATRYOSHKA_CORE ?? fileURLToPath(new URL("../build/wasm/matryoshka.wasm", import.meta.url));
const alive = [];
after(() => alive.forEach((machine) => machine.destroy()));

async function make(options) {
  const machine = await createMachine({ core, memory: "16M", clock: "virtual", debugExit: 0xf4, noReboot: true, ...options });
  alive.push(machine);
  return machine;
}
const refused = (code, message) => (error) => {
  assert.ok(error instanceof MachineError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  assert.match(error.message, /^[^\n]+[.?!]$/, "one sentence");
  return true;
};
const nextState = (machine, wanted) => new Promise((resolve) => {
  const off = machine.on("state", (value) => {
    if (value.state !== wanted) return;
    off();
    resolve(value);
  });
});

test("a guest says something, hears something and ends", async () => {
  const machine = await make({ kernel: guests.echo("say: ") });
  assert.equal(machine.state, "ready");
  const ended = nextState(machine, "shutdown");
  await machine.start();
  await machine.serial(0).expect("say: ");
  await machine.serial(0).write("Привет");
  assert.equal((await machine.serial(0).expect(/П.+т/))[0], "Привет");
  await machine.serial(0).write("q");
  const { reason, exitCode } = await ended;
  assert.deepEqual([reason, exitCode], ["debug-exit", 1]);
  assert.equal(machine.serial(0).text(), "say: Привет");
  await assert.rejects(machine.start(), refused("E_ENDED", /reset/));
});

test("expect() uses output up, and says what it waited for", async () => {
  const machine = await make({ kernel: guests.printAndLoop("one two ") });
  await machine.start();
  await machine.serial(0).expect("one");
  await machine.serial(0).expect("two");
  await assert.rejects(machine.serial(0).expect("two", { timeout: 50 }), refused("E_TIMEOUT", /two did not appear within 50 ms.*one two/));
});

test("pause holds still, and the reset button starts again", async () => {
  const machine = await make({ kernel: guests.printAndLoop("here "), noReboot: false });
  await machine.start();
  await machine.serial(0).expect("here");
  await machine.pause();
  assert.equal(machine.state, "paused");
  const hash = await machine.hash();
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(await machine.hash(), hash);
  await machine.reset();
  await machine.serial(0).expect("here");
});

test("a saved machine goes on in another one", async () => {
  const machine = await make({ kernel: guests.echo("say: ") });
  await machine.start();
  await machine.serial(0).expect("say: ");
  await machine.pause();
  const state = await machine.saveState();

  const other = await make({ kernel: guests.loop() });
  await other.loadState(state);
  assert.equal(await other.hash(), await machine.hash());
  await other.start();
  await other.serial(0).write("x");
  await other.serial(0).expect("x");

  const third = await createMachine({ core, snapshot: state });
  alive.push(third);
  assert.equal(await third.hash(), await machine.hash());
});

test("a snapshot that is none is refused, and the machine stays as it was", async () => {
  const machine = await make({ kernel: guests.printAndLoop("x") });
  await machine.start({ stopAt: 10_000 });
  await nextState(machine, "paused");
  const hash = await machine.hash();
  const state = await machine.saveState();
  for (const bytes of [new Uint8Array(0), new Uint8Array(1000)]) await assert.rejects(machine.loadState(bytes), refused("E_REFUSED", /snapshot/));
  let seed = 17;
  const random = (below) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % below;
  for (let i = 0; i < 25; i++) {
    const size = random(state.length), at = 10 + random(state.length - 10);  // what gzip's header says of its writer does not count
    await assert.rejects(machine.loadState(state.slice(0, size)), refused("E_REFUSED", /snapshot/), `cut at ${size}`);
    await assert.rejects(machine.loadState(state.with(at, state[at] ^ (1 << random(8)))), refused("E_REFUSED", /snapshot/), `byte ${at}`);
  }
  assert.equal(await machine.hash(), hash);
});

test("changes need little, and go on with their base", async () => {
  const machine = await make({ kernel: guests.echo("say: "), memory: "64M" });
  await assert.rejects(machine.saveState({ changes: true }), refused("E_REFUSED", /save the whole machine first/));
  await machine.start();
  await machine.serial(0).expect("say: ");
  await machine.pause();
  const base = await machine.saveState();
  await machine.start();
  await machine.serial(0).write("one");
  await machine.serial(0).expect("one");
  await machine.pause();
  const state = await machine.saveState({ changes: true });
  assert.ok(state.length < base.length / 2, `${state.length} bytes against ${base.length}`);

  const other = await make({ kernel: guests.loop() });
  const before = await other.hash();
  await assert.rejects(other.loadState(state), refused("E_REFUSED", /--base/));
  await assert.rejects(other.loadState(state, { base: state }), refused("E_REFUSED", /base/));
  await assert.rejects(other.loadState(base, { base }), refused("E_REFUSED", /leave --base away/));
  assert.equal(await other.hash(), before);
  await other.loadState(state, { base });
  assert.equal(await other.hash(), await machine.hash());
  const third = await createMachine({ core, snapshot: state, base });
  alive.push(third);
  assert.equal(await third.hash(), await machine.hash());
});

test("a machine keeps its drives for its own snapshots, and others are asked for them", async () => {
  const image = new Uint8Array(8192).fill(3);
  const machine = await make({ kernel: guests.loop(), drives: [image] });
  const state = await machine.saveState();
  const hash = await machine.hash();
  await machine.start({ stopAt: 10_000 });
  await nextState(machine, "paused");
  await machine.loadState(state);
  assert.equal(await machine.hash(), hash);
  const other = await make({ kernel: guests.loop() });
  await assert.rejects(other.loadState(state), refused("E_REFUSED", /drive/));
  await assert.rejects(other.loadState(state, { drives: [image.with(5, 4)] }), refused("E_REFUSED", /drive/));
  await other.loadState(state, { drives: [image] });
  assert.equal(await other.hash(), hash);
  // Now they are its own.
  await other.loadState(state);
});

test("while a running machine is saved, what is typed waits and nothing is lost", async () => {
  const machine = await make({ kernel: guests.echo("say: ") });
  await machine.start();
  await machine.serial(0).expect("say: ");
  const saving = machine.saveState();
  const written = machine.serial(0).write("abc");
  const state = await saving;
  await written;
  await machine.serial(0).expect("abc");
  const other = await createMachine({ core, snapshot: state });
  alive.push(other);
  await other.start();
  await other.serial(0).write("x");
  await other.serial(0).expect("x");
  assert.equal(other.serial(0).text(), "x");
});

test("runs with the virtual clock repeat", async () => {
  const run = async () => {
    const machine = await make({ kernel: guests.echo("say: "), type: [["say: $", "abc"]] });
    const paused = nextState(machine, "paused");
    await machine.start({ stopAt: 500_000 });
    const { ticks } = await paused;
    // An access to a port is charged more than one tick, and the machine stops between instructions.
    assert.ok(ticks >= 500_000 && ticks < 501_000, `${ticks}`);
    assert.equal(machine.serial(0).text(), "say: abc");
    return [ticks, await machine.hash()];
  };
  assert.deepEqual(await run(), await run());
});

test("triple fault and a halt for good are states with a reason", async () => {
  const triple = await make({ kernel: guests.tripleFault() });
  const halted = nextState(triple, "halted");
  await triple.start();
  assert.equal((await halted).reason, "triple-fault");
  const deaf = await make({ kernel: guests.halt() });
  const stopped = nextState(deaf, "halted");
  await deaf.start();
  assert.equal((await stopped).reason, "halted");
  await assert.rejects(deaf.serial(0).expect("x"), refused("E_ENDED", /halted/));
});

test("what cannot be made is refused in one sentence", async () => {
  await assert.rejects(make({}), refused("E_OPTIONS", /nothing to boot/));
  await assert.rejects(make({ kernel: guests.loop(), memory: "12Q" }), refused("E_OPTIONS", /12Q/));
  await assert.rejects(make({ kernel: new Uint8Array(1000) }), refused("E_REFUSED", /./));
  await assert.rejects(make({ kernel: new Uint8Array(0) }), refused("E_REFUSED", /empty/));
  await assert.rejects(make({ kernel: "/nowhere/kernel" }), refused("E_DOWNLOAD", /nowhere/));
  await assert.rejects(make({ kernel: 5 }), refused("E_OPTIONS", /image/));
  await assert.rejects(make({ kernel: guests.loop(), core: new Uint8Array([1, 2, 3, 4]) }), refused("E_DAMAGED", /matryoshka.wasm/));
  await assert.rejects(make({ kernel: guests.loop(), core: "/nowhere/core" }), refused("E_DOWNLOAD", /nowhere/));
});

test("a destroyed machine answers with an error, also to what is waiting", async () => {
  const machine = await make({ kernel: guests.loop() });
  await machine.start();
  const waiting = assert.rejects(machine.serial(0).expect("never"), refused("E_ENDED", /destroyed/));
  machine.destroy();
  machine.destroy();
  await waiting;
  await assert.rejects(machine.start(), refused("E_ENDED", /destroyed/));
});

test("progress counts every byte of every file", async () => {
  const kernel = guests.loop();
  const seen = [];
  await make({ kernel, initrd: new Uint8Array(5000), onprogress: ({ loaded, total }) => seen.push([loaded, total]) });
  const [loaded, total] = seen.at(-1);
  assert.equal(loaded, total);
  assert.ok(seen.every(([l], i) => i === 0 || l >= seen[i - 1][0]));
});

test("output goes to its listeners", async () => {
  const machine = await make({ kernel: guests.printAndLoop("first ") });
  const pieces = [];
  machine.on("output", ({ port, bytes }) => pieces.push([port, new TextDecoder().decode(bytes)]));
  await machine.start();
  await machine.serial(0).expect("first ");
  assert.deepEqual(pieces.map(([port]) => port), pieces.map(() => "serial"));
  assert.equal(pieces.map(([, text]) => text).join(""), "first ");
  assert.throws(() => machine.on("nothing"), refused("E_OPTIONS", /no event/));
});
