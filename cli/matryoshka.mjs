// The machine in a terminal, as WebAssembly in Node. cli/main.cpp is its sibling for the native build: the same options,
// sentences and exit statuses.
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import { devNull } from "node:os";
import { join, relative } from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import { Core, PORTS } from "../web/core.js";
import { MachineError } from "../web/errors.js";
import { compileCore } from "../web/loader.js";
import { Script } from "../web/script.js";
import { vectorsCommand } from "./vectors.mjs";

const STATUS = { well: 0, failed: 1, badUsage: 2, limit: 3, tripleFault: 4, difference: 5, interrupted: 130 };
// Slices are short so that V8 replaces the code it begins with; between two looks at the keyboard pass about 8 ms.
const SLICE_TICKS = 20_000;
const TURN_MS = 8;
// Below the second after which the machine takes a pause for a sleep of the computer and gives the time up.
const LONGEST_WAIT_MS = 500;

const core_path = process.env.MATRYOSHKA_CORE ?? new URL("../build/wasm/matryoshka.wasm", import.meta.url);

function say(sentence) {
  process.stderr.write(`matryoshka: ${/\.$/.test(sentence) ? sentence : `${sentence}.`}\n`);
}

class Refusal extends Error {}

const reasons = {
  ENOENT: "No such file or directory", EACCES: "Permission denied", EISDIR: "Is a directory", ENOTDIR: "Not a directory",
  ENOSPC: "No space left on device",
};
const because = (error) => reasons[error.code] ?? error.message;

function readWanted({ role, path }) {
  try {
    // A device may never end.
    if (statSync(path).isCharacterDevice() && path !== devNull) throw new Error("It is a device, not a file");
    return readFileSync(path);
  } catch (error) {
    throw new Refusal(`Cannot read the ${role} '${path}': ${because(error)}`);
  }
}

// A copy of the shared folder: plain files and the folders they are in; links are not followed.
function readShare(folder) {
  if (!folder) return [];
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .sort()
      .map((path) => ({ path: relative(folder, path), bytes: readFileSync(path) }));
  } catch (error) {
    throw new Refusal(`Cannot read the shared folder '${folder}': ${because(error)}`);
  }
}

// Opened before the machine starts, so that a wrong path costs nobody a run.
class OutputFile {
  #descriptor = null;
  #path;
  constructor(path) {
    this.#path = path;
    if (!path) return;
    try {
      this.#descriptor = openSync(path, "w");
    } catch (error) {
      throw new Refusal(`Cannot write '${path}': ${because(error)}`);
    }
  }
  get wanted() {
    return this.#descriptor !== null;
  }
  write(bytes) {
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      throw new Refusal(`Cannot write '${this.#path}': ${because(error)}`);
    }
  }
  close() {
    if (this.wanted) closeSync(this.#descriptor);
  }
}

// --- The guest's side --------------------------------------------------------

class Host {
  matched = false;
  // The serial port, until a guest writes to its virtio console.
  keyboard = "serial";
  #core;
  #script;
  #sinks;

  constructor(plan, outputs) {
    this.#script = new Script(plan);
    const terminal = { bytes: [], write: (bytes) => process.stdout.write(bytes) };
    const to = (sink, file) =>
      sink.kind === "terminal" ? terminal : sink.kind === "file" ? { bytes: [], write: (bytes) => file.write(bytes) } : null;
    this.#sinks = [to(plan.serial, outputs.serial), terminal, to(plan.debugcon, outputs.debugcon)];
  }
  attach(core) {
    this.#core = core;
  }

  output = (port, byte) => {
    this.#sinks[port]?.bytes.push(byte);
    if (PORTS[port] === "debugcon") return;
    if (PORTS[port] === "console") this.keyboard = "console";
    const action = this.#script.watch(port, byte);
    if (action === "end") {
      this.matched = true;
      this.#core.stop();
    } else if (action) {
      this.#core.input(PORTS[port], action);
    }
  };

  flush() {
    for (const sink of this.#sinks) {
      if (!sink || sink.bytes.length === 0) continue;
      sink.write(Uint8Array.from(sink.bytes));
      sink.bytes = [];
    }
  }
}

// Keys on their way to the guest, or to the monitor. Ctrl-A is ours, as in QEMU.
class Keyboard {
  quit = false;
  ended = false;  // nothing will come any more
  #monitors;
  #typed = [];
  #escaped = false;
  #raw = false;
  #awaken = () => {};

  constructor(wanted, monitors) {
    this.#monitors = monitors;
    this.ended = !wanted;
    if (!wanted) return;
    this.#raw = process.stdin.isTTY === true && !monitors;
    if (this.#raw) process.stdin.setRawMode(true);
    process.stdin.on("data", (keys) => this.#take(keys));
    process.stdin.on("error", () => {});
    process.stdin.on("end", () => {
      this.ended = true;
      this.awaken();
    });
    this.close = () => {
      if (this.#raw) process.stdin.setRawMode(false);
      process.stdin.destroy();
    };
  }
  close() {}

  #take(keys) {
    for (const key of keys) {
      if (!this.#raw) {
        this.#typed.push(key);
      } else if (!this.#escaped && key === 1) {
        this.#escaped = true;
      } else if (this.#escaped && (key | 0x20) === 0x78) {
        this.quit = true;
      } else if (this.#escaped && (key | 0x20) === 0x63) {
        this.#typed.push("monitor");
        this.#escaped = false;
      } else {
        if (!this.#escaped || key === 1) this.#typed.push(key);
        this.#escaped = false;
      }
    }
    this.awaken();
  }

  // Hands over what was typed: to the guest's port, or to the monitor while that is open.
  deliver(core, port) {
    let bytes = [];
    const pass = () => {
      if (this.#monitors) core.typeAtMonitor(Uint8Array.from(bytes));
      else core.input(port, Uint8Array.from(bytes));
      bytes = [];
    };
    for (const key of this.#typed) {
      if (key !== "monitor") {
        bytes.push(key);
        continue;
      }
      pass();
      this.#monitors = !this.#monitors;
      if (this.#monitors) core.openMonitor();
      else core.closeMonitor();
    }
    this.#typed = [];
    pass();
  }
  // Resolves after so long, or at the next key.
  wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#awaken = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  awaken() {
    this.#awaken();
  }
}

// --- The run -----------------------------------------------------------------

function endingOf(reason, core, plan) {
  const missed = (what) => (plan.until ? `The guest ${what} before --until was met` : "");
  switch (reason) {
    case "power-off": return { status: STATUS.well, sentence: missed("switched itself off") };
    case "reset": return { status: STATUS.well, sentence: missed("restarted") };
    case "debug-exit": return { status: core.exitCode & 0xff };
    case "triple-fault": return { status: STATUS.tripleFault, sentence: "The guest ended in a triple fault", details: core.describe() };
    case "difference": return { status: STATUS.difference, sentence: "The JIT and the interpreter do not agree, which is a fault of ours", details: core.verification };
    case "boot-failed": return { status: STATUS.failed, sentence: `The guest cannot be loaded again after its reset: ${core.bootError}` };
    default: return { status: STATUS.limit, sentence: "The guest has halted with interrupts off, and nothing can wake it" };
  }
}

async function run(core, host, keyboard, plan, signals, exits, regions) {
  const tell = () => {
    const text = core.takeMonitorOutput();
    if (text.length > 0) process.stdout.write(text);
    if (exits.wanted) exits.write(core.takeVmExits());
    if (regions.wanted) regions.write(core.takeJitTrace());
  };
  const printHash = () => {
    host.flush();
    process.stderr.write(`hash ${core.ticks} ${core.hash()}\n`);
  };
  const start = core.ticks;
  const stopAt = plan.stopAt ?? Infinity;
  const limitAt = start + (plan.maxInstructions ?? Infinity);
  let nextHash = plan.hashEvery ? (Math.floor(start / plan.hashEvery) + 1) * plan.hashEvery : Infinity;
  if (stopAt <= start) {
    return { name: "error", status: STATUS.badUsage, sentence: `--stop-at ${stopAt} lies before tick ${start}, where this machine stands` };
  }
  const hostClock = core.hostClock;
  let lastPace = performance.now();
  const resize = () => {
    if (process.stdout.columns && !plan.replay) core.resize(process.stdout.columns, process.stdout.rows);
  };
  resize();
  process.stdout.on("resize", resize);

  // What a program has written to the monitor is heard before anything runs.
  if (plan.monitor) {
    await keyboard.wait(100);
    keyboard.deliver(core, host.keyboard);
  }
  for (;;) {
    if (signals.received) return { name: "interrupted", status: STATUS.interrupted };
    const limit = Math.min(stopAt, limitAt, nextHash);
    core.setTickLimit(limit === Infinity ? null : limit);
    const began = performance.now();
    let reason;
    do {
      reason = core.run(SLICE_TICKS);
    } while (reason === "budget" && !host.matched && performance.now() - began < TURN_MS);
    host.flush();
    tell();
    if (host.matched) return { name: "match", status: STATUS.well };

    let wait = 0;
    switch (reason) {
      case "budget":
      case "stopped":
        break;
      case "paused":
        if (keyboard.ended) return { name: "quit", status: STATUS.well };
        wait = LONGEST_WAIT_MS;
        break;
      case "quit":
        return { name: "quit", status: STATUS.well };
      case "idle":
        wait = Math.min(core.nanosecondsUntilWake / 1e6 + 1, LONGEST_WAIT_MS);
        break;
      case "tick-limit":
        if (core.ticks >= nextHash) {
          printHash();
          nextHash = (Math.floor(core.ticks / plan.hashEvery) + 1) * plan.hashEvery;
        } else if (core.ticks >= stopAt) {
          printHash();
        }
        if (core.ticks >= stopAt) return { name: "stop-at", status: STATUS.well };
        if (core.ticks >= limitAt) return { name: "max-instructions", status: STATUS.limit, sentence: "The limit of --max-instructions was reached" };
        break;
      default:
        return { name: reason, ...endingOf(reason, core, plan) };
    }
    await (wait > 0 ? keyboard.wait(wait) : turn());
    if (keyboard.quit) return { name: "quit", status: STATUS.well };
    keyboard.deliver(core, host.keyboard);
    if (hostClock) {
      const now = performance.now();
      core.pace((now - lastPace) * 1e6);
      lastPace = now;
    }
  }
}

async function save(core, output, options) {
  if (!output.wanted) return;
  for await (const piece of core.save(options)) output.write(piece);
}

async function writeResults(core, outputs, ending, began) {
  // The changes first: they are told against what was loaded.
  await save(core, outputs.saveChanges, { changes: true });
  await save(core, outputs.saveState);
  if (outputs.record.wanted) outputs.record.write(core.recording());
  if (outputs.stats.wanted) {
    const figures = core.stats({
      wallSeconds: (performance.now() - began) / 1000, ended: ending.name, status: ending.status,
      peakMemory: process.resourceUsage().maxRSS * 1024,
    });
    outputs.stats.write(Buffer.from(`${JSON.stringify(figures)}\n`));
  }
  for (const output of Object.values(outputs)) output.close();
}

async function main(args) {
  let bytes;
  try {
    bytes = readFileSync(core_path);
  } catch {
    throw new Refusal("The machine is not built; ./run --build builds it");
  }
  const module = await compileCore(bytes);
  if (args[0] === "vectors") return vectorsCommand(module, args.slice(1), STATUS);
  const facts = { atTerminal: process.stdin.isTTY === true, now: Date.now() / 1000 };
  const { help, plan } = Core.plan(module, args, facts);
  if (help) {
    process.stdout.write(help);
    return STATUS.well;
  }
  new Script(plan);  // a wrong expression is found before anything is read or written
  const files = plan.files.map(readWanted), shared = readShare(plan.share);
  const outputs = {
    serial: new OutputFile(plan.serial.path), debugcon: new OutputFile(plan.debugcon.path), stats: new OutputFile(plan.stats),
    saveState: new OutputFile(plan.saveState), saveChanges: new OutputFile(plan.saveChanges), record: new OutputFile(plan.record),
    traceVmexit: new OutputFile(plan.traceVmexit), traceJit: new OutputFile(plan.traceJit),
  };
  const began = performance.now();
  const host = new Host(plan, outputs);
  const core = await Core.create(module, args, plan, files, { output: host.output, shared, ...facts });
  host.attach(core);
  if (plan.record) core.record();

  const keyboard = new Keyboard((plan.serial.kind === "terminal" && !plan.replay) || plan.monitor, plan.monitor);
  if (plan.monitor) core.openMonitor({ echo: false, pause: false });
  if (plan.traceVmexit) core.traceVmExits();
  const signals = { received: false };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      signals.received = true;
      keyboard.awaken();
    });
  }
  let ending;
  try {
    ending = await run(core, host, keyboard, plan, signals, outputs.traceVmexit, outputs.traceJit);
    host.flush();
  } finally {
    keyboard.close();
  }
  if (ending.sentence) say(ending.sentence);
  process.stderr.write(ending.details ?? "");
  if (plan.verify && ending.status !== STATUS.difference) say(core.verification);
  try {
    await writeResults(core, outputs, ending, began);
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof MachineError)) throw error;
    say(error.message);
    return STATUS.failed;
  }
  return ending.status;
}

process.stdout.on("error", () => process.exit(STATUS.failed));
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Refusal || error instanceof MachineError)) throw error;
  say(error.message);
  const usage = error instanceof Refusal || ["E_OPTIONS", "E_REFUSED", "E_MEMORY"].includes(error.code);
  process.exitCode = usage ? STATUS.badUsage : STATUS.failed;
}
