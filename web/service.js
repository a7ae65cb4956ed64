// A machine that lives by itself: it downloads its files, runs in turns, and speaks with its owner in messages. worker.js
// puts it into a Web Worker; in Node machine.js calls it directly.
//
// The owner sends { id, call, args } and gets { id, result } or { id, error }. Unasked come { event: "state" | "output" |
// "progress" | "stats" | "error", ... }. A turn takes about 8 ms, and turns follow each other through a MessageChannel;
// timers, which browsers slow down, are used only to wait while the guest has nothing to do.

import { Core, PORTS } from "./core.js";
import { fetchFile, fetchFiles } from "./files.js";
import { MachineError, asMachineError } from "./errors.js";
import { join } from "./gzip.js";
import { Script } from "./script.js";
import { compileCore } from "./loader.js";

// Short enough that V8 replaces the code it begins with, long enough that the call costs nothing: about 100 microseconds.
const SLICE_TICKS = 8_000;
const TURN_MS = 8;
const STATS_MS = 500;
// Below the second after which the machine takes a pause for a laptop's sleep and gives the time up.
const LONGEST_WAIT_MS = 500;
// Output that the owner has not shown yet. A guest that writes without end waits, and Ctrl-C works at once.
const MOST_UNSHOWN = 256 * 1024;

const CONTROL_C = Uint8Array.of(3);

const now = () => performance.now();

function turnScheduler(run) {
  if (typeof setImmediate === "function") return () => setImmediate(run);
  const channel = new MessageChannel();
  channel.port1.onmessage = run;
  return () => channel.port2.postMessage(0);
}

export function serve(post) {
  let module, args, plan, shared, core, script;
  // Whether the monitor's prompt is open, and who waits for a command of monitor() that runs the machine.
  let prompt = false, asking = null;
  let state = "loading";
  let output = PORTS.map(() => []);
  let unshown = 0;
  let lastPace = 0;
  let timer = null, scheduled = false;
  let stopAt = null, matched = false;
  let shown = { time: 0, retired: 0 };
  // While a snapshot is written or read nothing else happens: the guest stands still, and calls wait.
  let busy = null;
  const scheduleTurn = turnScheduler(() => {
    scheduled = false;
    turn();
  });

  function wake() {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (state === "running" && !scheduled) {
      scheduled = true;
      scheduleTurn();
    }
  }

  function setState(next, facts = {}) {
    state = next;
    post({ event: "state", state, ticks: core?.ticks ?? 0, ...facts });
  }

  // From inside Core.run().
  function received(port, byte) {
    output[port].push(byte);
    if (script.idle) return;
    const action = script.watch(port, byte);
    if (action === "end") {
      matched = true;
      core.stop();
    } else if (action) {
      core.input(PORTS[port], action);
    }
  }

  function flush() {
    output.forEach((bytes, port) => {
      if (bytes.length === 0) return;
      unshown += bytes.length;
      const data = Uint8Array.from(bytes);
      output[port] = [];
      post({ event: "output", port: PORTS[port], bytes: data }, [data.buffer]);
    });
  }

  function flushPrompt() {
    if (!prompt) return;
    const bytes = core.takeMonitorOutput();
    if (bytes.length === 0) return;
    unshown += bytes.length;
    post({ event: "output", port: "monitor", bytes }, [bytes.buffer]);
  }

  // After anything that the monitor was told: the machine stands still while the monitor holds it, and runs when it lets go.
  function follow(held) {
    flushPrompt();
    answerAsked();
    if (core.monitorHolds && state === "running") setState("paused", { reason: "monitor" });
    else if (held && !core.monitorHolds && state === "paused") calls.start();
  }

  function answerAsked() {
    if (asking && !core.monitorPending) endAsking(core.monitorAnswer);
  }
  function endAsking(answer) {
    asking?.(answer);
    asking = null;
  }

  // Another core has another monitor.
  function reopenPrompt(pause) {
    endAsking("The machine was replaced by another.\n");
    if (prompt) core.openMonitor({ pause });
    flushPrompt();
  }

  function reportStats(force = false) {
    const time = now();
    if (!force && time - shown.time < STATS_MS) return;
    const retired = core.retired;
    const seconds = (time - shown.time) / 1000;
    post({ event: "stats", ticks: core.ticks, instructions: retired, mips: Math.max(0, retired - shown.retired) / seconds / 1e6, compiling: core.compiling });
    shown = { time, retired };
  }

  function turn() {
    if (state !== "running" || unshown > MOST_UNSHOWN || busy) return;
    try {
      const began = now();
      if (core.hostClock) {
        core.pace((began - lastPace) * 1e6);
        lastPace = began;
      }
      let reason;
      do {
        reason = core.run(SLICE_TICKS);
      } while (reason === "budget" && !matched && now() - began < TURN_MS);
      flush();
      flushPrompt();
      reportStats();
      after(reason);
    } catch (error) {
      fail(error);
    }
  }

  function after(reason) {
    if (matched) {
      matched = false;
      setState("paused", { reason: "match" });
      return;
    }
    switch (reason) {
      case "budget":
      case "stopped":
        wake();
        return;
      case "idle": {
        const wait = Math.min(core.nanosecondsUntilWake / 1e6, LONGEST_WAIT_MS);
        if (wait < 1) return wake();
        timer = setTimeout(wake, wait);
        return;
      }
      case "tick-limit":
        setState("paused", { reason });
        return;
      case "paused":
        answerAsked();
        setState("paused", { reason: "monitor" });
        return;
      case "quit":
      case "power-off":
      case "reset":
        setState("shutdown", { reason });
        break;
      case "boot-failed":
        fail(new MachineError("E_REFUSED", `The guest cannot be loaded again after its reset: ${core.bootError}`));
        return;
      case "debug-exit":
        setState("shutdown", { reason, exitCode: core.exitCode });
        break;
      default:
        setState("halted", { reason, processor: core.describe() });
    }
    endAsking("The guest ended before that came.\n");
    reportStats(true);
  }

  function fail(error) {
    flush();
    const known = asMachineError(error);
    setState("error", { error: known.toJSON() });
    post({ event: "error", error: known.toJSON() });
  }

  function alive() {
    if (!core) throw new MachineError("E_ENDED", "There is no machine; create one first");
    if (state === "error") throw new MachineError("E_ENDED", "The machine has failed; create a new one");
  }

  async function make() {
    script = new Script(plan);
    drives = drivesOf(plan, files);
    core = await Core.create(module, args, plan, files, { output: received, shared });
    if (plan.record !== "") core.record();
    setState("ready");
  }

  let files;
  // A snapshot of this machine has only what was written to its drives; their images are kept here.
  let drives = [];
  const drivesOf = (plan, files) => plan.files.map(({ role, path }, i) => ({ role, path, bytes: files[i] })).filter(({ role }) => role === "disk");

  const calls = {
    async create(request) {
      const progress = (loaded, total, file) => post({ event: "progress", loaded, total, file });
      const arrived = await fetchFiles([request.core, ...request.files], progress, compileCore);
      module = arrived[0];
      ({ args, shared } = request);
      ({ plan } = Core.plan(module, args));
      files = arrived.slice(1);
      await make();
      return { memory: plan.memory, hostClock: core.hostClock };
    },
    start({ stopAt: tick } = {}) {
      alive();
      if (state === "halted" || state === "shutdown") throw new MachineError("E_ENDED", "The guest has ended; reset the machine first");
      if (tick !== undefined) stopAt = tick;
      core.setTickLimit(stopAt);
      if (state === "running") return;
      if (core.monitorHolds) core.askMonitor("cont");
      lastPace = now();
      shown = { time: lastPace, retired: core.retired };
      setState("running");
      wake();
    },
    pause() {
      alive();
      if (state !== "running") return;
      if (asking) core.typeAtMonitor(CONTROL_C);
      else if (prompt) core.openMonitor({ pause: true });
      follow(false);
      if (state === "running") setState("paused", { reason: "asked" });
    },
    openPrompt({ pause = true } = {}) {
      alive();
      prompt = true;
      const held = core.monitorHolds;
      core.openMonitor({ pause });
      follow(held);
    },
    closePrompt() {
      alive();
      if (!prompt) return;
      const held = core.monitorHolds;
      core.closeMonitor();
      follow(held);
      prompt = false;
    },
    monitor({ command }) {
      alive();
      if (asking) throw new MachineError("E_REFUSED", "An earlier command still waits for what it asked for; pause() ends it");
      const held = core.monitorHolds;
      const answer = core.askMonitor(command);
      if (answer !== null) {
        follow(held);
        return answer;
      }
      const later = new Promise((resolve) => (asking = resolve));
      if (state === "halted" || state === "shutdown") endAsking("The guest has ended; reset the machine first.\n");
      else calls.start();
      return later;
    },
    panes() {
      alive();
      return core.panes();
    },
    async reset() {
      // A failed core cannot be used again; a new one starts from the same files.
      if (state === "error" || !core) {
        await make();
        reopenPrompt(false);
      }
      const was = state;
      core.reset();
      if (was === "running") return;
      setState("ready");
      calls.start();
    },
    power() {
      alive();
      core.pressPowerButton();
      wake();
    },
    write({ port, bytes }) {
      alive();
      if (port === "monitor") {
        const held = core.monitorHolds;
        core.typeAtMonitor(bytes);
        follow(held);
        return;
      }
      core.input(port, bytes);
      wake();
    },
    resize({ columns, rows }) {
      alive();
      core.resize(columns, rows);
      wake();
    },
    shown({ bytes }) {
      unshown -= bytes;
      if (unshown <= MOST_UNSHOWN) wake();
    },
    stats() {
      alive();
      return core.stats();
    },
    hash() {
      alive();
      return core.hash();
    },
    describe() {
      alive();
      return core.describe();
    },
    async saveState({ changes = false }) {
      alive();
      const pieces = [];
      for await (const piece of core.save({ changes })) pieces.push(piece);
      return join(pieces);
    },
    recording() {
      alive();
      return core.recording();
    },
    // The machine that is there stays as it is unless the new one can be made.
    async loadState(request) {
      const own = request.ownDrives ? drives : [];
      const given = [...own.map(({ bytes }) => bytes), ...await Promise.all(request.files.map((file) => fetchFile(file)))];
      const loaderArgs = [...request.args, ...own.flatMap(({ path }) => ["-drive", `file=${path.replaceAll(",", ",,")}`])];
      const { plan: loading } = Core.plan(module, loaderArgs);
      const next = await Core.create(module, loaderArgs, loading, given, { output: received, spareDrives: request.ownDrives });
      if (!request.ownDrives) drives = drivesOf(loading, given);
      const running = state === "running";
      core = next;
      reopenPrompt(!running);
      setState("paused", { reason: "loaded" });
      if (running) calls.start();
    },
  };

  async function perform(call, parameters) {
    if (call === "shown") return calls.shown(parameters);
    while (busy) await busy;
    if (!["saveState", "loadState", "reset"].includes(call)) return calls[call](parameters);
    const work = calls[call](parameters);
    busy = work.then(() => {}, () => {}).then(() => {
      busy = null;
      wake();
    });
    return work;
  }

  return async function receive({ id, call, args: parameters }) {
    try {
      const result = await perform(call, parameters);
      if (id !== undefined) post({ id, result });
    } catch (error) {
      const known = asMachineError(error);
      if (call === "create" || known.code === "E_CORE" || known.code === "E_MEMORY") fail(known);
      if (id !== undefined) post({ id, error: known.toJSON() });
    }
  };
}
