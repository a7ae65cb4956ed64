// Guests of guests: what programs lose per layer, how long the way to a second prompt is, and what an exit costs.
import { bochs } from "./bochs.mjs";
import { heading, median, milliseconds, ratio, row, summary } from "./figures.mjs";
import { EXITS_PROGRAM, PROGRAMS, TOOLS, image } from "./guests.mjs";
import { matryoshka, qemu } from "./machines.mjs";
import { times } from "./programs.mjs";

const MARKS = { layer2: 0.9, layer3: 0.8, prompt: 6000, exits: 3 };
const COMPUTE = ["sieve", "mandelbrot", "sha256"];
const EXITS = { "cpuid-exit": "CPUID, answered in the kernel", "out-exit": "OUT, answered by vmm" };

const guest = (...drives) => ({ ...image(64, { drives, memory: 512 }), nested: true });
const forBochs = () => ({ ...image(64, { memory: 512 }), tools: TOOLS, exits: EXITS_PROGRAM });
const prompt = (layer) => new RegExp(`^${layer === 1 ? "" : `L${layer} `}~ # `);

// Each layer mounts the programs' disk, runs some of them, and starts the next with it.
function layers(most) {
  const type = [];
  for (let layer = 1; layer <= most; ++layer) {
    const exits = layer === 1 ? "vmm --long /mnt/exits; " : "";
    type.push([prompt(layer), `mount -t squashfs -o ro /dev/vdb /mnt; ${exits}/mnt/run 4 ${COMPUTE.join(" ")}\n`]);
    if (layer < most) type.push([prompt(layer), "vmm --disk /dev/vdb\n"]);
  }
  return { type, until: prompt(most) };
}

// The lines of each layer: a Linux that starts begins the next one.
function byLayer(lines) {
  const parts = [[]];
  for (const entry of lines) {
    if (/INIT-READY/.test(entry.line)) parts.push([]);
    parts.at(-1).push(entry);
  }
  return parts.slice(1).map(times);
}

export async function measureNested({ rounds, seconds, chromium, verdicts }) {
  const compute = [["Node", 3, matryoshka()], ["QEMU TCG, SVM", 2, qemu]];
  const runs = Object.fromEntries(compute.map(([name]) => [name, []]));
  const prompts = [
    ["Chromium", (_, options) => chromium.page(null, options), null], ["Node", matryoshka(), guest(TOOLS)], ["QEMU TCG, SVM", qemu, guest(TOOLS)],
    ["Bochs, VT-x", bochs, forBochs()],
  ];
  const ways = {};
  for (let round = 0; round < rounds; ++round) {
    for (const [name, most, machine] of compute) {
      const run = await machine(guest(TOOLS, PROGRAMS), { ...layers(most), seconds });
      if (run.ok) runs[name].push(byLayer(run.lines));
      else console.error(`${name}: layer ${most} did not come to its end. ${run.complaint}`);
    }
    for (const [name, machine, from] of prompts) {
      const run = await machine(from, { type: [[prompt(1), "vmm\n"]], until: prompt(2), seconds });
      if (run.ok) ((ways[name] ??= { first: [], second: [] }).first.push(run.matches[0]), ways[name].second.push(run.matches[1]));
      else console.error(`${name}: no second prompt. ${run.complaint}`);
    }
  }

  // Bochs counts, and counts repeat.
  const counted = await bochs(forBochs(), { type: [[prompt(1), "vmm --long /opt/exits\n"]], until: prompt(1), seconds });
  if (counted.ok) runs["Bochs, VT-x"] = [byLayer(counted.lines)];

  const report = { compute: {}, prompts: {}, exits: {} };
  for (const [name, most] of compute) {
    if (!runs[name].length) continue;
    heading(`Programs in layers, ${name}: host milliseconds, median (least-most) of ${runs[name].length}; speed as a part of layer 1's`);
    const depths = Array.from({ length: most }, (_, depth) => depth);
    row("", [...depths.map((depth) => `L${depth + 1}`), ...depths.slice(1).map((depth) => `L${depth + 1} to L1`)]);
    const parts = { 2: {}, 3: {} };
    for (const program of COMPUTE) {
      const figures = depths.map((depth) => summary(runs[name].map((run) => run[depth][program].ms)));
      const speeds = depths.slice(1).map((depth) => figures[0].median / figures[depth].median);
      speeds.forEach((speed, i) => (parts[i + 2][program] = speed));
      row(program, [...figures.map(milliseconds), ...speeds.map(ratio)]);
      (report.compute[name] ??= {})[program] = figures;
    }
    if (name !== "Node") continue;
    verdicts.each("compute in L2, part of L1's speed", parts[2], MARKS.layer2);
    verdicts.each("compute in L3, part of L1's speed", parts[3], MARKS.layer3);
  }

  heading(`From start to the prompts of L1 and L2: host milliseconds, median (least-most) of ${rounds}`);
  row("", ["L1", "L2"]);
  for (const [name, { first, second }] of Object.entries(ways)) {
    report.prompts[name] = { L1: summary(first), L2: summary(second) };
    row(name, [milliseconds(report.prompts[name].L1), milliseconds(report.prompts[name].L2)]);
  }
  verdicts.most("start to L2's prompt in Chromium, ms", report.prompts.Chromium?.L2.median, MARKS.prompt, 0);

  heading("One exit of L2 and back: microseconds, and ticks of L2's clock, which in this machine and in Bochs are instructions");
  row("", Object.values(EXITS).flatMap((what) => [what, ""]), 32);
  for (const name of Object.keys(runs)) {
    if (!runs[name].length) continue;
    report.exits[name] = {};
    for (const exit of Object.keys(EXITS)) {
      const each = runs[name].map((run) => run[0][exit]);
      report.exits[name][exit] = { microseconds: summary(each.map(({ ms, check: count }) => (ms * 1000) / count)), ticks: median(each.map(({ own }) => own)) };
    }
    row(name, Object.values(report.exits[name]).flatMap(({ microseconds, ticks }) => [`${ratio(microseconds.median)} us`, `${ticks} ticks`]), 32);
  }
  for (const [exit, what] of Object.entries(EXITS))
    verdicts.least(`${what}: times as fast as QEMU's SVM, in Node`,
      report.exits["QEMU TCG, SVM"]?.[exit].microseconds.median / report.exits.Node?.[exit].microseconds.median, MARKS.exits);
  return report;
}
