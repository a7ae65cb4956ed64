// The programs of programs/list in one guest, on every machine in turn.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { geometricMean, heading, milliseconds, ratio, row, summary } from "./figures.mjs";
import { ended, matryoshka, qemu, started, v86 } from "./machines.mjs";
import { image } from "./guests.mjs";

// As fast as the peer, so many times.
const MARKS = {
  64: { peer: "QEMU TCG", mean: 1.0, each: 0.4, hot: 1.5 },
  32: { peer: "v86", mean: 2.5, each: 1.0 },
};
const HOT = ["integer", "sse"];  // kinds in the list; "compute" has no inner loop so small
const REGIONS = { programs: 95, boot: 80 };

export const list = readFileSync(new URL("programs/list", import.meta.url), "utf8").split("\n")
  .map((line) => line.trim().split(/\s+/)).filter(([name]) => name && name !== "#")
  .map(([name, , kind]) => ({ name, kind }));

// What passed on the host between the line before a program and the line after it.
export function times(lines) {
  const results = {};
  let began = 0;
  for (const { line, ms } of lines) {
    if (started(line)) began = ms;
    const program = ended(line);
    if (program) results[program.name] = { ms: ms - began, check: program.check, own: program.milliseconds };
  }
  return results;
}

// Exact counts, so once is enough: { boot, NAME: figures, whole }.
export function profileOf(bits, scale, names = []) {
  const guest = image(bits, names.length ? { bench: true, command: ["/bench/run", scale, ...names] } : { bench: true, scale });
  const { stdout, stderr, status } = spawnSync(process.execPath,
    [fileURLToPath(new URL("profile.mjs", import.meta.url)), JSON.stringify(guest)], { encoding: "utf8", maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`The profile of the ${bits}-bit run failed: ${stderr.trim().split("\n").pop()}`);
  return JSON.parse(stdout);
}

export const share = ({ instructions: { interpreter, regions } }) => (100 * regions) / (interpreter + regions);

// The three lines that say most of why a program takes so long.
export function telling(figures) {
  const { instructions: { interpreter, regions }, jit } = figures;
  const million = (interpreter + regions) / 1e6;
  const most = (counts) => Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]).slice(0, 6)
    .map(([name, n]) => `${name.trim()} ${(n / million).toFixed(0)}`).join(", ");
  return [
    `${share(figures).toFixed(1)} % of ${million.toFixed(0)} M instructions in regions; ${jit.regions} regions made of ` +
      `${jit.instructions_compiled} instructions, ${jit.dropped} dropped, ${jit.not_compiled} refused; ${figures.blocks_built} blocks built`,
    `left regions, per million instructions: ${most(jit.exits)}`,
    `interpreted after leaving, per million: ${most(jit.interpreted_after)}`,
  ];
}

export async function measurePrograms(bits, { rounds, scale, seconds, extras, chromium, verdicts }) {
  const guest = image(bits, { bench: true, scale });
  const machines = {
    "Node": matryoshka(), "Chromium": chromium.bare, "QEMU TCG": qemu, ...(bits === 32 ? { v86: v86(true) } : {}),
    ...(extras.includes("interp") ? { "Node interpreter": matryoshka("--engine", "interp") } : {}),
    ...(extras.includes("native") ? { "native interpreter": matryoshka("--native") } : {}),
    ...(extras.includes("v86-interp") && bits === 32 ? { "v86 interpreter": v86(false) } : {}),
  };
  const all = {}, checks = {};
  for (let round = 0; round < rounds; ++round)
    for (const [name, machine] of Object.entries(machines)) {
      const run = await machine(guest, { until: /^BENCH-EXIT/, seconds });
      if (!run.ok) {
        console.error(`${name}, ${bits} bits: no end. ${run.complaint}`);
        continue;
      }
      for (const [program, { ms, check }] of Object.entries(times(run.lines))) {
        ((all[program] ??= {})[name] ??= []).push(ms);
        (checks[program] ??= {})[name] = check;
      }
    }

  const figures = {};
  for (const [program, byMachine] of Object.entries(all))
    figures[program] = Object.fromEntries(Object.entries(byMachine).map(([name, ms]) => [name, summary(ms)]));
  const names = Object.keys(machines);
  const marks = MARKS[bits];
  const speed = (program, name, peer) => figures[program]?.[peer]?.median / figures[program]?.[name]?.median;
  const profile = profileOf(bits, scale);

  heading(`Programs in the ${bits}-bit guest: host milliseconds, median (least-most) of ${rounds}; speed as a multiple of the peer's`);
  const peers = bits === 32 ? ["v86", "QEMU TCG"] : ["QEMU TCG"];
  const columns = ["Node", "Chromium"].flatMap((name) => peers.map((peer) => [name, peer]));
  const widths = [...names.map(() => 20), ...columns.map(() => 10), 11];
  row("", [...names, ...columns.map(([name]) => name), "in"], widths);
  row("", [...names.map(() => ""), ...columns.map(([, peer]) => `to ${peer.replace(" TCG", "")}`), "regions"], widths);
  for (const { name: program, kind } of list) {
    if (!figures[program]) continue;
    row(program, [...names.map((name) => milliseconds(figures[program][name])),
      ...columns.map(([name, peer]) => ratio(speed(program, name, peer))), `${share(profile[program]).toFixed(1)} %`], widths);
    const wanted = Math.max(marks.each, HOT.includes(kind) ? marks.hot ?? 0 : 0);
    if (["Node", "Chromium"].some((name) => speed(program, name, marks.peer) < wanted)) {
      console.log(`    below its mark of ${wanted}; ./bench profile ${bits} ${program}`);
      for (const line of telling(profile[program])) console.log(`    ${line}`);
    }
    const differing = new Set(Object.values(checks[program]));
    if (differing.size > 1) console.log(`    its result differs: ${JSON.stringify(checks[program])}`);
  }
  const speeds = (name, peer, kinds) => Object.fromEntries(list.filter(({ name: program, kind }) => figures[program]?.[name] &&
    figures[program]?.[peer] && (!kinds || kinds.includes(kind))).map(({ name: program }) => [program, speed(program, name, peer)]));
  row("mean", [...names.map(() => ""), ...columns.map(([name, peer]) => ratio(geometricMean(Object.values(speeds(name, peer))))), ""], widths);

  for (const name of ["Node", "Chromium"]) {
    const here = `${bits}-bit programs in ${name}, times ${marks.peer}'s speed`;
    verdicts.least(`${here}, geometric mean`, geometricMean(Object.values(speeds(name, marks.peer))), marks.mean);
    verdicts.each(`${here}, no program below`, speeds(name, marks.peer), marks.each);
    if (marks.hot) verdicts.each(`${here}, integer and SSE loops`, speeds(name, marks.peer, HOT), marks.hot);
  }
  const shares = (kinds) => Object.fromEntries(list.filter(({ name, kind }) => profile[name] && kinds.includes(kind))
    .map(({ name }) => [name, share(profile[name])]));
  verdicts.each(`${bits}-bit compute programs, % of instructions in regions`, shares([...HOT, "compute"]), REGIONS.programs);
  verdicts.least(`${bits}-bit boot, % of instructions in regions`, share(profile.boot), REGIONS.boot, 1);
  const told = ({ instructions, jit, blocks_built, rep_iterations }) => ({ instructions, jit, blocks_built, rep_iterations });
  return {
    milliseconds: figures, results: checks, speeds: Object.fromEntries(columns.map(([name, peer]) => [`${name} to ${peer}`, speeds(name, peer)])),
    profile: Object.fromEntries(Object.entries(profile).map(([name, one]) => [name, told(one)])),
  };
}
