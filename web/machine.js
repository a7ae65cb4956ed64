// The object that the page, Node and the tests use; matryoshka.d.ts describes it. In a page the machine runs in a Web
// Worker, in Node on this thread, and nothing else differs.

import { MachineError } from "./errors.js";

export { MachineError };

const inNode = typeof process === "object" && typeof process.versions?.node === "string";
const encoder = new TextEncoder();

// Text that a port keeps for text() and expect().
const MOST_TEXT = 1 << 20;

// --- Options -----------------------------------------------------------------

function sizeText(memory) {
  return typeof memory === "number" ? `${Math.round(memory / (1 << 20))}M` : memory;
}

async function imageFile(image, baseURL) {
  if (image instanceof Uint8Array) return { name: "image", bytes: image };
  if (image instanceof ArrayBuffer) return { name: "image", bytes: new Uint8Array(image) };
  if (typeof Blob === "function" && image instanceof Blob) return { name: image.name ?? "image", blob: image };
  if (image?.bytes) return { name: image.name ?? "image", bytes: image.bytes };
  if (image?.blob) return { name: image.name ?? image.blob.name ?? "image", blob: image.blob };
  const url = typeof image === "string" || image instanceof URL ? String(image) : image?.url && String(image.url);
  if (!url) throw new MachineError("E_OPTIONS", "An image must be an address, a Blob, an ArrayBuffer or { url }");
  const name = image.name ?? decodeURIComponent(url.split(/[?#]/)[0].split("/").pop() || url);
  if (inNode && !/^(https?|data|blob):/.test(url)) return { name, bytes: await readNodeFile(url) };
  return { name, url: inNode ? url : new URL(url, baseURL ?? document.baseURI).href, size: image.size, sha256: image.sha256 };
}

async function readNodeFile(path) {
  const { readFile } = await import("node:fs/promises");
  try {
    return new Uint8Array(await readFile(path.startsWith("file:") ? new URL(path) : path));
  } catch (error) {
    throw new MachineError("E_DOWNLOAD", `The file '${path}' could not be read (${error.code})`, { file: path });
  }
}

// The options as the command line that the core reads, with the files in the order in which it asks for them.
async function commandLine(options) {
  const args = [], files = [];
  const option = (name, value) => {
    if (value !== undefined && value !== null) args.push(name, String(value));
  };
  const load = async (image) => {
    const file = await imageFile(image, options.baseURL);
    files.push(file);
    return file.name.replaceAll(",", ",,");
  };
  option("-m", options.memory !== undefined ? sizeText(options.memory) : undefined);
  option("-cpu", options.cpu);
  option("--clock", options.clock);
  option("--epoch", options.epoch);
  option("--seed", options.seed);
  option("--until", options.until);
  for (const [pattern, text] of options.type ?? []) option("--type", `${pattern}=>${text.replaceAll("\\", "\\\\")}`);
  if (options.debugExit !== undefined) option("-device", `isa-debug-exit,iobase=${options.debugExit}`);
  if (options.noReboot) args.push("-no-reboot");
  if (options.record) option("--record", "recording");
  if (options.kernel) {
    files.push(await imageFile(options.kernel, options.baseURL));
    option("-kernel", files[0].name);
  }
  if (options.initrd) {
    const modules = Array.isArray(options.initrd) ? options.initrd : [options.initrd];
    const parts = [];
    for (const module of modules) {
      const name = (await load(module.image ?? module)).replaceAll(" ", "_");
      parts.push(module.args ? `${name} ${module.args.replaceAll(",", ",,")}` : name);
    }
    option("-initrd", parts.join(","));
  }
  if (options.cmdline) option("-append", options.cmdline);
  if (options.bios) option("-bios", (await load(options.bios)).replaceAll(",,", ","));
  for (const drive of options.drives ?? []) {
    const name = await load(drive.image ?? drive);
    option("-drive", `file=${name},format=raw,if=virtio,readonly=${drive.readonly ? "on" : "off"}`);
  }
  // The core asks for a base after its snapshot.
  if (options.snapshot) option("--load-state", (await load(options.snapshot)).replaceAll(",,", ","));
  if (options.base) option("--base", (await load(options.base)).replaceAll(",,", ","));
  if (options.replay) option("--replay", await load(options.replay));
  if (options.l0) args.push("--l0");
  let shared = [];
  if (options.share) {
    option("--share", "share");
    shared = Object.entries(options.share).map(([path, data]) => ({ path, bytes: typeof data === "string" ? encoder.encode(data) : data }));
  }
  return { args: [...args, ...(options.args ?? [])], files, shared };
}

// --- Ports -------------------------------------------------------------------

class Port {
  #machine;
  #name;
  #text = "";
  #consumed = 0;
  #decoder = new TextDecoder();
  #waiting = new Set();

  constructor(machine, name) {
    this.#machine = machine;
    this.#name = name;
  }

  // What somebody types: text as UTF-8, or bytes.
  write(data) {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    return this.#machine.call("write", { port: this.#name, bytes });
  }

  // All that the guest has written, the last mebibyte of it.
  text() {
    return this.#text;
  }

  // Waits until the output that no earlier expect() has used matches; answers the match, and uses it up.
  expect(pattern, { timeout = 60_000 } = {}) {
    const expression = typeof pattern === "string"
      ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
    return new Promise((resolve, reject) => {
      const waiter = {
        check: () => {
          const match = expression.exec(this.#text.slice(this.#consumed));
          if (!match) return false;
          this.#consumed += match.index + match[0].length;
          finish();
          resolve(match);
          return true;
        },
        end: (why) => {
          finish();
          reject(new MachineError("E_ENDED", `${why} before ${pattern} appeared. Last output: ${this.#tail()}`));
        },
      };
      const timer = setTimeout(() => {
        finish();
        reject(new MachineError("E_TIMEOUT", `${pattern} did not appear within ${timeout} ms. Last output: ${this.#tail()}`));
      }, timeout);
      const finish = () => {
        clearTimeout(timer);
        this.#waiting.delete(waiter);
      };
      this.#waiting.add(waiter);
      if (!waiter.check() && this.#machine.ended) waiter.end(this.#machine.ended);
    });
  }

  // For the machine.
  receive(bytes) {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    if (this.#text.length > MOST_TEXT) {
      const cut = this.#text.length - MOST_TEXT;
      this.#text = this.#text.slice(cut);
      this.#consumed = Math.max(0, this.#consumed - cut);
    }
    for (const waiter of this.#waiting) waiter.check();
  }
  ended(why) {
    for (const waiter of this.#waiting) waiter.end(why);
  }
  #tail() {
    return JSON.stringify(this.#text.slice(-200));
  }
}

// The monitor's prompt, which looks like a port.
class Prompt extends Port {
  #machine;

  constructor(machine) {
    super(machine, "monitor");
    this.#machine = machine;
  }
  open(options = {}) {
    return this.#machine.call("openPrompt", options);
  }
  close() {
    return this.#machine.call("closePrompt");
  }
}

// --- The machine -------------------------------------------------------------

class Machine {
  #send;
  #stop;
  #nextId = 1;
  #calls = new Map();
  #listeners = { state: new Set(), output: new Set(), progress: new Set(), stats: new Set(), error: new Set() };
  #ports;

  state = "loading";
  // Why the machine can no longer write anything, as the beginning of a sentence, or null.
  ended = null;

  constructor(connect) {
    this.#ports = { serial: new Port(this, "serial"), console: new Port(this, "console"), debugcon: new Port(this, "debugcon"), monitor: new Prompt(this) };
    ({ send: this.#send, stop: this.#stop } = connect((message) => this.#receive(message), (error) => this.#fail(error)));
  }

  // Where the guest stands: start() runs, to the first instruction boundary at or after tick `stopAt` if it is given.
  start(options = {}) {
    return this.call("start", options);
  }
  pause() {
    return this.call("pause");
  }
  // The reset button; a machine that has ended or failed starts again.
  reset() {
    this.ended = null;
    return this.call("reset");
  }
  power() {
    return this.call("power");
  }
  // Ends the machine for good; every other call is refused afterwards.
  destroy() {
    if (!this.#stop) return;
    this.#stop();
    this.#stop = null;
    this.#finish("The machine was destroyed");
  }

  serial(index = 0) {
    if (index !== 0) throw new MachineError("E_OPTIONS", "The machine has one serial port, serial(0)");
    return this.#ports.serial;
  }
  console() {
    return this.#ports.console;
  }
  debugcon() {
    return this.#ports.debugcon;
  }

  // One of the monitor's commands, and what it says.
  monitor(command) {
    return this.call("monitor", { command });
  }
  // The monitor's prompt, for a terminal.
  prompt() {
    return this.#ports.monitor;
  }
  panes() {
    return this.call("panes");
  }

  stats() {
    return this.call("stats");
  }
  hash() {
    return this.call("hash");
  }
  describe() {
    return this.call("describe");
  }
  saveState(options = {}) {
    return this.call("saveState", options);
  }
  async loadState(snapshot, { base, drives } = {}) {
    const { args, files } = await commandLine({ snapshot, base, drives });
    return this.call("loadState", { args, files, ownDrives: drives === undefined });
  }
  recording() {
    return this.call("recording");
  }
  resize(columns, rows) {
    return this.call("resize", { columns, rows });
  }

  // Answers a function that takes the listener off. A listener of "output" may answer a promise; the guest is held back
  // while much output waits for it.
  on(event, listener) {
    const listeners = this.#listeners[event];
    if (!listeners) throw new MachineError("E_OPTIONS", `There is no event '${event}'; there are ${Object.keys(this.#listeners).join(", ")}`);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  call(call, args = {}) {
    if (!this.#stop) return Promise.reject(new MachineError("E_ENDED", "The machine was destroyed; create a new one"));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#send({ id, call, args });
    });
  }

  #emit(event, value) {
    return [...this.#listeners[event]].map((listener) => listener(value));
  }

  #receive(message) {
    if (message.id !== undefined) {
      const { resolve, reject } = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (message.error) reject(MachineError.from(message.error));
      else resolve(message.result);
      return;
    }
    const { event, ...value } = message;
    if (event === "output") {
      const { port, bytes } = value;
      this.#ports[port].receive(bytes);
      Promise.allSettled(this.#emit("output", { port, bytes })).then(() => {
        if (this.#stop) this.#send({ call: "shown", args: { bytes: bytes.length } });
      });
      return;
    }
    if (event === "error") value.error = MachineError.from(value.error);
    if (event === "state") this.#setState(value);
    this.#emit(event, event === "error" ? value.error : value);
  }

  #setState(value) {
    this.state = value.state;
    const why = { shutdown: "The guest ended", halted: "The guest halted", error: "The machine failed" }[value.state];
    this.ended = why ?? null;
    // A machine that has ended can still be looked at, so the prompt lives on.
    const { monitor, ...ports } = this.#ports;
    if (why) for (const port of Object.values(value.state === "error" ? this.#ports : ports)) port.ended(why);
  }

  // The worker itself is gone.
  #fail(error) {
    if (!this.#stop) return;
    this.#setState({ state: "error" });
    this.#emit("state", { state: "error", error: error.toJSON() });
    this.#emit("error", error);
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }

  #finish(why) {
    this.ended = why;
    for (const port of Object.values(this.#ports)) port.ended(why);
    for (const { reject } of this.#calls.values()) reject(new MachineError("E_ENDED", `${why}; create a new one`));
    this.#calls.clear();
  }
}

function connectWorker(receive, failed) {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = (event) => receive(event.data);
  worker.onerror = (event) => {
    event.preventDefault();
    failed(new MachineError("E_CORE", `The machine's worker failed (${event.message || "its script did not load"}); reload the page`));
  };
  return { send: (message) => worker.postMessage(message), stop: () => worker.terminate() };
}

async function nodeConnector() {
  const { serve } = await import("./service.js");
  return (receive) => {
    let open = true;
    const take = serve((message) => open && receive(message));
    return {
      send: (message) => open && take(message),
      stop: () => {
        take({ call: "pause" });
        open = false;
      },
    };
  };
}

// Answers a machine that is ready to start. Its files are downloaded and checked, and nothing has run.
export async function createMachine(options = {}) {
  const { args, files, shared } = await commandLine(options);
  const core = await imageFile(options.core ?? new URL("matryoshka.wasm", import.meta.url), options.baseURL);
  const machine = new Machine(inNode ? await nodeConnector() : connectWorker);
  for (const event of ["progress", "state", "output", "stats", "error"])
    if (options[`on${event}`]) machine.on(event, options[`on${event}`]);
  const abort = () => machine.destroy();
  options.signal?.addEventListener("abort", abort);
  try {
    await machine.call("create", { args, files, shared, core });
  } catch (error) {
    machine.destroy();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
  return machine;
}
