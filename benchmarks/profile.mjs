// What the JIT made of each program: a run in this process that takes the machine's figures at every line of the benchmark.
//
//   node benchmarks/profile.mjs '{"bits":64,"kernel":…,"initrd":…,"cmdline":…,"memory":256}'
//
// Prints { boot, NAME: figures of the program alone, …, whole: figures of the run }. With the virtual clock and one seed these
// counts repeat exactly: one run is enough, on a busy host too.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Core } from "../web/core.js";
import { compileCore } from "../web/loader.js";
import { ended, matryoshkaArguments, started } from "./machines.mjs";

const SLICE_TICKS = 20_000;
const read = (path) => readFileSync(path);

// after - before, in every number, and in those of objects within. Of the instructions that were interpreted after a region, the
// figures name the most frequent; one that was not among them before is counted from the least of those, so not too high.
function difference(after, before) {
  if (typeof after === "number") return after - (before ?? 0);
  if (typeof after !== "object" || after === null) return after;
  return Object.fromEntries(Object.entries(after).map(([key, value]) => {
    if (key !== "interpreted_after") return [key, difference(value, before?.[key])];
    const least = Math.min(...Object.values(before?.[key] ?? { none: 0 }));
    return [key, Object.fromEntries(Object.entries(value).map(([name, n]) => [name, n - (before?.[key]?.[name] ?? least)]))];
  }));
}

export async function profile(guest) {
  const module = await compileCore(read(process.env.MATRYOSHKA_CORE ?? new URL("../build/wasm/matryoshka.wasm", import.meta.url)));
  const args = matryoshkaArguments(guest);
  const facts = { atTerminal: false, now: 0 };
  const { plan } = Core.plan(module, args, facts);
  const results = {};
  let line = "", before;
  const output = (port, byte) => {
    if (port !== 0) return;
    if (byte !== 10) return void (line += String.fromCharCode(byte));
    const name = /INIT-READY/.test(line) ? "boot" : ended(line)?.name;
    const begins = started(line);
    line = "";
    if (name) results[name] = difference(core.stats(), before);
    if (name || begins) before = core.stats();
  };
  const core = await Core.create(module, args, plan, plan.files.map(({ path }) => read(path)), { output, ...facts });
  for (;;) {
    const reason = core.run(SLICE_TICKS);
    if (reason !== "budget") break;
  }
  results.whole = core.stats();
  return results;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(JSON.stringify(await profile(JSON.parse(process.argv[2]))));
