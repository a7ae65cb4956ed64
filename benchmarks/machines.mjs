// The machines that are measured, each as a function: (guest, options) -> a run that delivers serial lines with host times.
//
// A guest is { bits, memory, kernel, initrd, cmdline, drives }. Options are { until, seconds, type, stats }: a run ends when the
// expression `until` matches a line, or after `seconds`; `type` is a list of [expression, text], each typed once, in order, when a line
// matches. What counts is the host's clock at the moment a line is complete, for every machine alike; 0 is the moment before the
// machine's program is started. A run answers { ok, lines, complaint }.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

// --- What the guest writes -----------------------------------------------------

// A line before and a line after each program (programs/run).
export const started = (line) => /^BENCH-START (\S+)/.exec(line)?.[1];
export const ended = (line) => {
  const [, name, milliseconds, check] = /^BENCH (\S+) (\S+) (\S+)/.exec(line) ?? [];
  return name && { name, milliseconds: Number(milliseconds), check };
};

// Text becomes lines with times. A rule may match a line that is still being written, such as a prompt; it then uses it up.
export class Lines {
  #text = "";
  #rules;
  #until;
  lines = [];
  matches = [];  // when each rule was met
  constructor({ until, type = [] }, send) {
    this.#until = until;
    this.#rules = [...type];
    this.send = send;
    this.done = new Promise((resolve) => (this.finish = resolve));
  }
  push(text, ms) {
    this.#text += text;
    for (let end; (end = this.#text.indexOf("\n")) >= 0;) {
      const line = this.#text.slice(0, end).replaceAll("\r", "");
      this.#text = this.#text.slice(end + 1);
      this.lines.push({ line, ms });
      this.#look(line, ms);
    }
    if (this.#look(this.#text.replaceAll("\r", ""), ms)) this.#text = "";
  }
  #look(line, ms) {
    if (this.#rules[0]?.[0].test(line)) {
      this.matches.push(ms);
      this.send(this.#rules.shift()[1]);
      return true;
    }
    if (this.#rules.length > 0 || !this.#until.test(line)) return false;
    this.matches.push(ms);
    this.finish(true);
    return true;
  }
}

// --- Programs of the host ------------------------------------------------------

// `ends_itself`: the program stops at the match by itself and still has figures to write.
export function program(command, args, options, { ends_itself = false, typed = false, cwd, env, port } = {}) {
  const began = performance.now();
  const now = () => performance.now() - began;
  const lines = new Lines(options, (text) => typed && (port ?? child.stdin).write(text));
  const child = spawn(command, args, { stdio: [typed ? "pipe" : "ignore", "pipe", "pipe"], cwd, env: { ...process.env, ...env } });
  let complaint = "";
  child.stdout.setEncoding("latin1").on("data", (text) => port || lines.push(text, now()));
  port?.listen((text) => lines.push(text, now()));
  child.stderr.setEncoding("latin1").on("data", (text) => (complaint = (complaint + text).slice(-400)));
  child.on("error", (error) => ((complaint = error.message), lines.finish(false)));
  // Not at "exit": what it has written last may still be on its way.
  child.on("close", (status, signal) => {
    complaint += `\nIt ended by itself (${signal ?? `status ${status}`}). ${complaint.trim().split("\n").pop()}`;
    lines.finish(false);
  });
  const timer = setTimeout(() => {
    complaint += `\nIt took longer than ${options.seconds} s.`;
    lines.finish(false);
  }, options.seconds * 1000);
  const exited = new Promise((resolve) => child.on("close", resolve));
  return lines.done.then(async (ok) => {
    clearTimeout(timer);
    if (!ok || !ends_itself) child.kill("SIGKILL");
    await exited;
    return { ok, lines: lines.lines, matches: lines.matches, complaint: complaint.trim().split("\n").pop() };
  });
}

export const matryoshkaArguments = (guest) => [
  "-m", `${guest.memory}M`, "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.cmdline, "--clock", "virtual",
  ...(guest.drives ?? []).flatMap((file) => ["-drive", `file=${file},format=raw,if=virtio,readonly=on`]),
  ...(guest.bits === 32 ? ["-cpu", "qemu32"] : []),
];

export const matryoshka = (...engine) => (guest, options) =>
  program(join(root, "matryoshka"), [
    ...engine, ...matryoshkaArguments(guest), "--until", options.until.source,
    ...(options.type ?? []).flatMap(([pattern, text]) => ["--type", `${pattern.source}=>${text.replaceAll("\n", "\\n")}`]),
    ...(options.stats ? ["--stats", options.stats] : []),
  ], options, { ends_itself: true });

export const qemu = (guest, options) =>
  program(guest.bits === 32 ? "qemu-system-i386" : "qemu-system-x86_64", [
    "-accel", "tcg", "-cpu", guest.nested ? "max" : guest.bits === 32 ? "qemu32" : "Nehalem", "-m", String(guest.memory),
    "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-kernel", guest.kernel, "-initrd", guest.initrd,
    "-append", guest.cmdline, ...(guest.drives ?? []).flatMap((file) => ["-drive", `file=${file},format=raw,if=virtio,readonly=on`]),
  ], options, { typed: true });

// npm's v86 in a Node of its own, on Debian's SeaBIOS.
export const v86 = (jit) => (guest, options) =>
  program(process.execPath, [join(root, "benchmarks/v86.mjs"), JSON.stringify({ ...guest, jit })], options);
