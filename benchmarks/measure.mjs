// ./bench: this build beside QEMU TCG and npm's v86, on the same images in one run. Prints ratios and writes benchmarks/results.json.
//
// The machine it runs on is never quiet, so nothing is claimed from one time alone: machines take turns, each round measures all of
// them, and a figure is the least of its rounds. Ratios are of such figures.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

import { matryoshka, qemu, v86 } from "./machines.mjs";

const here = new URL("..", import.meta.url).pathname;
const guests = join(here, "build/guest");
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
if (process.argv.includes("--help")) {
  console.log(`usage: ./bench [--rounds N] [--scale N] [--only boot|programs] [--seconds N]

  --rounds   how often each machine takes its turn (3)
  --scale    how much work the programs do (1)
  --seconds  after how long a run counts as failed (300)`);
  process.exit(0);
}
const rounds = Number(option("rounds", 3)), scale = Number(option("scale", 1)), seconds = Number(option("seconds", 300));
const only = option("only", "");

const stats_folder = mkdtempSync(join(tmpdir(), "bench-"));
const stats_file = join(stats_folder, "stats.json");
process.on("exit", () => rmSync(stats_folder, { recursive: true, force: true }));

const image = (bits, bench) => ({
  bits, memory: 256,
  kernel: join(guests, `bzImage${bits}`),
  initrd: join(guests, `initrd${bench ? "-bench" : ""}${bits}.lz4`),
  cmdline: "console=ttyS0 quiet" + (bench ? ` bench=${scale}` : ""),
});

const machines = {
  64: { "matryoshka": matryoshka(false), "matryoshka native": matryoshka(true), "QEMU TCG": qemu },
  32: { "matryoshka": matryoshka(false), "matryoshka native": matryoshka(true), "QEMU TCG": qemu, "v86 interpreter": v86(false), "v86": v86(true) },
};

const least = (numbers) => Math.min(...numbers);
const mean = (numbers) => Math.exp(numbers.reduce((sum, n) => sum + Math.log(n), 0) / numbers.length);
const row = (cells) => console.log(cells.map((c, i) => (i ? String(c).padStart(18) : String(c).padEnd(14))).join(""));

async function measure(bits, bench, digest) {
  const guest = image(bits, bench);
  if (!existsSync(guest.kernel) || !existsSync(guest.initrd)) {
    console.error(`The ${bits}-bit images are missing; ./bench makes them when it is started without arguments.`);
    return null;
  }
  const results = {};
  for (let round = 0; round < rounds; ++round)
    for (const [name, machine] of Object.entries(machines[bits])) {
      const own = name.startsWith("matryoshka");
      const run = await machine(guest, { until: bench ? /^BENCH-EXIT/ : /INIT-READY/, seconds, stats: own ? stats_file : undefined });
      if (!run.ok) {
        console.error(`${name}, ${bits} bits: no end within ${seconds} s. ${run.complaint.trim().split("\n").pop()}`);
        continue;
      }
      const figures = digest(run);
      if (own && existsSync(stats_file)) figures.mips = JSON.parse(readFileSync(stats_file)).mips;
      const kept = (results[name] ??= {});
      for (const [key, value] of Object.entries(figures)) (kept[key] ??= []).push(value);
    }
  for (const figures of Object.values(results))
    for (const key of Object.keys(figures)) figures[key] = key === "mips" ? Math.max(...figures[key]) : least(figures[key]);
  return results;
}

// A program's time is what passed on the host since the line before its own.
function programs(run) {
  const figures = {};
  let before = run.lines.find(({ line }) => /INIT-READY/.test(line))?.ms ?? 0;
  for (const { line, ms } of run.lines) {
    const name = /^BENCH (\S+) /.exec(line)?.[1];
    if (!name) continue;
    figures[name] = ms - before;
    before = ms;
  }
  return figures;
}

const report = { date: new Date().toISOString().slice(0, 10), node: process.version, processor: cpus()[0]?.model, rounds, scale };

if (only !== "programs") {
  for (const bits of [64, 32]) {
    const boots = await measure(bits, false, (run) => ({ ms: run.lines.find(({ line }) => /INIT-READY/.test(line)).ms }));
    if (!boots) continue;
    console.log(`\nBoot of the small ${bits}-bit Linux, from start to prompt (least of ${rounds})`);
    row(["", ...Object.keys(boots)]);
    row(["ms", ...Object.values(boots).map((b) => b.ms.toFixed(0))]);
    row(["to QEMU TCG", ...Object.values(boots).map((b) => (b.ms / boots["QEMU TCG"]?.ms).toFixed(2))]);
    row(["MIPS", ...Object.values(boots).map((b) => b.mips?.toFixed(0) ?? "")]);
    report[`boot${bits}`] = boots;
  }
}

if (only !== "boot") {
  for (const bits of [64, 32]) {
    const results = await measure(bits, true, programs);
    if (!results) continue;
    const names = Object.keys(results);
    const tests = Object.keys(results[names[0]] ?? {}).filter((name) => name !== "mips");
    console.log(`\nPrograms in the ${bits}-bit guest, scale ${scale}, ms of host time (least of ${rounds})`);
    row(["", ...names]);
    for (const test of tests) row([test, ...names.map((name) => results[name][test]?.toFixed(0) ?? "-")]);
    const ratios = {};
    for (const name of names) {
      const pairs = tests.filter((test) => results[name][test] && results["QEMU TCG"]?.[test]);
      ratios[name] = mean(pairs.map((test) => results[name][test] / results["QEMU TCG"][test]));
    }
    row(["to QEMU TCG", ...names.map((name) => ratios[name].toFixed(2))]);
    row(["MIPS", ...names.map((name) => results[name].mips?.toFixed(0) ?? "")]);
    report[`programs${bits}`] = { ms: results, to_qemu: ratios };
  }
}

writeFileSync(join(here, "benchmarks/results.json"), `${JSON.stringify(report, null, 1)}\n`);
console.log("\nWritten to benchmarks/results.json.");
