// One machine in one instance of the core: the C functions of web/api/api.cpp as a JavaScript object. It runs on the
// thread that calls it; service.js gives it a life of its own.

import { MachineError } from "./errors.js";
import { NotGzip, pack, unpack } from "./gzip.js";
import { guarded, instantiateCore } from "./loader.js";

export const PORTS = ["serial", "console", "debugcon"];
const REASONS = ["budget", "idle", "stopped", "tick-limit", "power-off", "reset", "debug-exit", "triple-fault", "halted", "boot-failed", "paused", "quit",
  "difference"];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const isSnapshot = ({ role }) => role === "snapshot" || role === "base";

export class Core {
  #exports;
  #memory;
  #compiling;

  constructor(module, room) {
    ({ exports: this.#exports, memory: this.#memory, compiling: this.#compiling } = instantiateCore(module, room));
  }

  // What a command line asks for: { plan } or { help }. The files named in plan.files are still to be read.
  static plan(module, args, { atTerminal = true, now = Date.now() / 1000 } = {}) {
    return new Core(module).#configure(args, atTerminal, now);
  }

  // Makes the machine of a plan. `files` are the bytes of plan.files, in their order; `shared` is what the shared folder holds,
  // as { path, bytes }; `spareDrives` says that a snapshot need not have all the drives.
  static async create(module, args, plan, files, { output, shared = [], spareDrives = false, atTerminal = true, now = Date.now() / 1000 } = {}) {
    // Snapshots are unpacked into the machine and never stand in its memory as files.
    const inMemory = files.filter((_, i) => !isSnapshot(plan.files[i]));
    const size = [...inMemory, ...shared.map(({ bytes }) => bytes)].reduce((sum, bytes) => sum + bytes.length, 0);
    // A snapshot knows the size of its memory and we do not; that instance grows as it must.
    const growth = plan.loadState ? Infinity : plan.memory + size;
    const core = new Core(module, { guestBytes: (plan.loadState ? 0 : plan.memory) + size, growth, output });
    core.#configure(args, atTerminal, now);
    files.forEach((bytes, i) => {
      if (isSnapshot(plan.files[i])) return;
      const at = core.#call("mx_file", i, bytes.length) >>> 0;
      core.#bytes(at, bytes.length).set(bytes);
    });
    for (const { path, bytes } of shared) {
      core.#fill(encoder.encode(path));
      const at = core.#call("mx_shared_file", bytes.length) >>> 0;
      core.#bytes(at, bytes.length).set(bytes);
    }
    if (plan.loadState) {
      core.#call("mx_load_begin", spareDrives ? 1 : 0);
      for (const role of ["base", "snapshot"]) {
        const i = plan.files.findIndex((file) => file.role === role);
        if (i >= 0) await core.#load(role, files[i]);
      }
    }
    if (core.#call("mx_create")) throw new MachineError("E_REFUSED", core.#text());
    return core;
  }

  async #load(role, file) {
    let unpacked = 1;
    try {
      for await (const piece of unpack(file)) {
        this.#fill(piece);
        if (this.#call("mx_load_piece", piece.length)) break;
      }
    } catch (error) {
      if (!(error instanceof NotGzip)) throw error;
      unpacked = 0;
    }
    if (this.#call("mx_load_end", role === "base" ? 1 : 0, unpacked)) throw new MachineError("E_REFUSED", this.#text());
  }

  #configure(args, atTerminal, now) {
    this.#fill(encoder.encode(args.map((arg) => `${arg}\0`).join("")));
    const answer = this.#call("mx_configure", atTerminal ? 1 : 0, now);
    if (answer === 1) throw new MachineError("E_OPTIONS", this.#text());
    return answer === 2 ? { help: this.#text() } : { plan: JSON.parse(this.#text()) };
  }

  // Runs for about so many ticks; answers why it returned.
  run(ticks) {
    try {
      return REASONS[this.#exports.mx_run(ticks)];
    } catch (error) {
      guarded(this.#memory, () => {
        throw error;
      });
    }
  }

  stop() {
    this.#call("mx_stop");
  }
  setTickLimit(tick) {
    this.#call("mx_set_tick_limit", tick ?? -1);
  }
  reset() {
    this.#call("mx_reset");
  }
  pressPowerButton() {
    this.#call("mx_press_power_button");
  }
  input(port, bytes) {
    if (bytes.length === 0) return;
    this.#fill(bytes);
    this.#call("mx_input", PORTS.indexOf(port), bytes.length);
  }
  resize(columns, rows) {
    this.#call("mx_resize", columns, rows);
  }
  pace(nanoseconds) {
    this.#call("mx_pace", nanoseconds);
  }

  get nanosecondsUntilWake() {
    return this.#call("mx_nanoseconds_until_wake");
  }
  get hostClock() {
    return this.#call("mx_host_clock") !== 0;
  }
  get ticks() {
    return this.#call("mx_ticks");
  }
  get retired() {
    return this.#call("mx_retired");
  }
  get exitCode() {
    return this.#call("mx_exit_code");
  }
  // "well", or why the JIT's code was not compiled: "forbidden" by the site's policy, "failed".
  get compiling() {
    return this.#compiling.state;
  }
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  // Over every saved bit and all memory, as 16 hexadecimal digits.
  hash() {
    return BigInt.asUintN(64, this.#call("mx_hash")).toString(16).padStart(16, "0");
  }
  stats({ wallSeconds = 0, ended = "", status = 0, peakMemory = this.memoryBytes } = {}) {
    this.#fill(encoder.encode(`${ended}\0`));
    this.#call("mx_stats", wallSeconds, peakMemory, status);
    return JSON.parse(this.#text());
  }
  // The inspector's prompt. With `echo` it edits its line itself, as a raw terminal needs it; `pause` stops the machine where it is.
  openMonitor({ echo = true, pause = true } = {}) {
    this.#call("mx_monitor_open", echo ? 1 : 0, pause ? 1 : 0);
  }
  closeMonitor() {
    this.#call("mx_monitor_close");
  }
  typeAtMonitor(bytes) {
    if (bytes.length === 0) return;
    this.#fill(bytes);
    this.#call("mx_monitor_type", bytes.length);
  }
  takeMonitorOutput() {
    this.#call("mx_monitor_output");
    return this.#takeResult();
  }
  get monitorHolds() {
    return this.#call("mx_monitor_holds") !== 0;
  }
  // One command beside the prompt: its answer, or null if it waits (until, step), and then monitorAnswer has it in the end.
  askMonitor(command) {
    const bytes = encoder.encode(command);
    this.#fill(bytes);
    return this.#call("mx_monitor_ask", bytes.length) ? null : this.#text();
  }
  get monitorPending() {
    return this.#call("mx_monitor_pending") !== 0;
  }
  get monitorAnswer() {
    this.#call("mx_monitor_answer");
    return this.#text();
  }
  // What the inspector's panes show; matryoshka.d.ts describes it.
  panes() {
    this.#call("mx_panes");
    return JSON.parse(this.#text());
  }
  // VM entries and exits as lines of JSON, from now on; those since the last call.
  traceVmExits() {
    this.#call("mx_trace_vm_exits");
  }
  takeVmExits() {
    this.#call("mx_vm_exits");
    return this.#takeResult();
  }
  describe() {
    this.#call("mx_describe");
    return this.#text();
  }
  takeJitTrace() {
    this.#call("mx_jit_trace");
    return this.#takeResult();
  }
  get verification() {
    this.#call("mx_verification");
    return this.#text();
  }
  get bootError() {
    this.#call("mx_boot_error");
    return this.#text();
  }
  // The pieces of a snapshot file, compressed; of everything, or of the changes since the last whole one. The machine must
  // not be touched until all have come.
  save({ changes = false } = {}) {
    if (this.#call("mx_save_begin", changes ? 1 : 0)) throw new MachineError("E_REFUSED", this.#text());
    return pack(this.#pieces());
  }
  *#pieces() {
    while (this.#call("mx_save_piece")) yield this.#takeResult();
  }
  record() {
    this.#call("mx_record");
  }
  recording() {
    this.#call("mx_recording");
    return this.#takeResult();
  }

  // --- Bytes across the border -----------------------------------------------

  #call(name, ...numbers) {
    return guarded(this.#memory, () => this.#exports[name](...numbers));
  }
  #bytes(at, size) {
    return new Uint8Array(this.#memory.buffer, at, size);
  }
  #fill(bytes) {
    const at = this.#call("mx_buffer", bytes.length) >>> 0;
    this.#bytes(at, bytes.length).set(bytes);
  }
  #result() {
    const size = this.#exports.mx_result_size() >>> 0;
    return this.#bytes(this.#exports.mx_result() >>> 0, size);
  }
  #text() {
    return decoder.decode(this.#result());
  }
  #takeResult() {
    const bytes = this.#result().slice();
    this.#call("mx_drop_result");
    return bytes;
  }
}
