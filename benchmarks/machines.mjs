// The machines that are measured, each as a function: (guest, options) -> a run that delivers serial lines with host times.
//
// A guest is { bits, kernel, initrd, cmdline, memory }. A run ends when `until` matches, or after `seconds`. What counts is the
// host's clock at the moment a line is complete, for every machine alike.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";

class Lines {
  #text = "";
  #start = performance.now();
  lines = [];
  constructor(until) {
    this.until = until;
    this.done = new Promise((resolve) => (this.finish = resolve));
  }
  push(text) {
    this.#text += text;
    for (;;) {
      const end = this.#text.indexOf("\n");
      // The marker may stand on a line that is still being written.
      if (end < 0) {
        if (this.until.test(this.#text)) this.#record(this.#text);
        return;
      }
      const line = this.#text.slice(0, end).replace(/\r$/, "");
      this.#text = this.#text.slice(end + 1);
      this.#record(line);
    }
  }
  #record(line) {
    this.lines.push({ line, ms: performance.now() - this.#start });
    if (this.until.test(line)) this.finish(true);
  }
}

function timeout(seconds, lines) {
  const timer = setTimeout(() => lines.finish(false), seconds * 1000);
  return () => clearTimeout(timer);
}

// `ends_itself`: the program stops at the match by itself and still has figures to write.
function program(command, args, until, seconds, ends_itself = false) {
  const lines = new Lines(until);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let complaint = "";
  child.stdout.setEncoding("latin1").on("data", (text) => lines.push(text));
  child.stderr.setEncoding("latin1").on("data", (text) => (complaint = (complaint + text).slice(-400)));
  child.on("error", (error) => ((complaint = error.message), lines.finish(false)));
  child.on("exit", () => lines.finish(lines.lines.some(({ line }) => until.test(line))));
  const stop = timeout(seconds, lines);
  const exited = new Promise((resolve) => child.on("close", resolve));
  return lines.done.then(async (ok) => {
    stop();
    if (!ok || !ends_itself) child.kill("SIGKILL");
    await exited;
    return { ok, lines: lines.lines, complaint };
  });
}

const here = new URL("..", import.meta.url).pathname;

// What the programs write: a line before and a line after each (programs/run).
export const started = (line) => /^BENCH-START (\S+)/.exec(line)?.[1];
export const ended = (line) => {
  const [, name, , check] = /^BENCH (\S+) (\S+) (\S+)/.exec(line) ?? [];
  return name && { name, check };
};

export const matryoshkaArguments = (guest) => [
  "-m", `${guest.memory}M`, "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.cmdline, "--clock", "virtual",
  ...(guest.bits === 32 ? ["-cpu", "qemu32"] : []),
];


export const matryoshka = (native) => (guest, { until, seconds, stats }) =>
  program(`${here}matryoshka`, [
    ...(native ? ["--native"] : []), "-m", `${guest.memory}M`, "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.cmdline,
    "--clock", "virtual", "--until", until.source, ...(guest.bits === 32 ? ["-cpu", "qemu32"] : []), ...(stats ? ["--stats", stats] : []),
  ], until, seconds, true);

export const qemu = (guest, { until, seconds }) =>
  program(guest.bits === 32 ? "qemu-system-i386" : "qemu-system-x86_64", [
    "-accel", "tcg", "-cpu", guest.bits === 32 ? "qemu32" : "Nehalem", "-m", String(guest.memory), "-nodefaults", "-nographic",
    "-serial", "stdio", "-no-reboot", "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.cmdline,
  ], until, seconds);

// npm's v86 in a Node of its own, on Debian's SeaBIOS.
export const v86 = (jit) => (guest, { until, seconds }) =>
  program(process.execPath, [`${here}benchmarks/v86.mjs`, JSON.stringify({ ...guest, jit })], until, seconds);

export const read = (path) => {
  const bytes = readFileSync(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
