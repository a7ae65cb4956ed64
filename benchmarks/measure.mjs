// ./bench: this build beside QEMU TCG, npm's v86 and Bochs, on the same images in one run. Prints ratios with their marks and writes
// benchmarks/results.json.
//
// The host is never quiet, so nothing is claimed from one time alone: machines take turns, each round measures all of them, a figure
// is the median of its rounds and stands beside the least and the most.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { measureBoot } from "./boot.mjs";
import { openChromium } from "./chromium.mjs";
import { Verdicts, heading } from "./figures.mjs";
import { measureNested } from "./nested.mjs";
import { measurePrograms, profileOf, telling } from "./programs.mjs";
import { measureSizes } from "./sizes.mjs";

const HELP = `usage: ./bench [PART...] [OPTION...]
       ./bench profile 64|32 [NAME...]
       ./bench --profile-instances

Parts, in this order, all if none is named
  boot     the small Linux to its prompt, and the page's pauses
  64, 32   the programs of benchmarks/programs/list in a guest of so many bits
  nested   guests of guests
  sizes    the core and the JIT's code

  --rounds N    how often each machine takes its turn (5)
  --quick       one round
  --scale N     how much work the programs do (1)
  --seconds N   after how long a run counts as failed (300)
  --with LIST   more machines for 64 and 32: interp (this machine in Node without
                its JIT), native (the native interpreter), v86-interp

profile prints what the JIT made of each program: the share of instructions in
regions, exits by cause, and what was interpreted after them. Counts repeat
exactly, so a busy host does not matter.

--profile-instances makes the list behind cpu/hot.def.`;

const PARTS = ["boot", "64", "32", "nested", "sizes"];
const KEYS = { boot: "boot", 64: "programs64", 32: "programs32", nested: "nested", sizes: "sizes" };  // in results.json
const EXTRAS = ["interp", "native", "v86-interp"];

function fail(sentence) {
  console.error(`bench: ${sentence}`);
  process.exit(2);
}

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        rounds: { type: "string", default: "5" }, quick: { type: "boolean" }, scale: { type: "string", default: "1" },
        seconds: { type: "string", default: "300" }, with: { type: "string", default: "" }, help: { type: "boolean" },
      },
    });
    const numbers = Object.fromEntries(["rounds", "scale", "seconds"].map((name) => {
      const number = Number(values[name]);
      if (!Number.isInteger(number) || number < 1) fail(`--${name} takes a whole number from 1, not '${values[name]}'.`);
      return [name, number];
    }));
    const extras = values.with.split(",").filter(Boolean);
    for (const extra of extras) if (!EXTRAS.includes(extra)) fail(`--with knows ${EXTRAS.join(", ")}, and not '${extra}'.`);
    return { ...numbers, rounds: values.quick ? 1 : numbers.rounds, extras, positionals, help: values.help };
  } catch (error) {
    return fail(`${error.message} --help lists what there is.`);
  }
}

const { positionals, help, ...options } = readOptions();
if (help) {
  console.log(HELP);
  process.exit(0);
}

if (positionals[0] === "profile") {
  const [, bits, ...names] = positionals;
  if (bits !== "64" && bits !== "32") fail("profile takes 64 or 32, and then names of programs.");
  const { boot, whole, ...programs } = profileOf(Number(bits), options.scale, names);
  for (const [name, figures] of Object.entries({ boot, ...programs, "the whole run": whole })) {
    console.log(name);
    for (const line of telling(figures)) console.log(`  ${line}`);
  }
  process.exit(0);
}
for (const part of positionals) if (!PARTS.includes(part)) fail(`There is no part '${part}'; there are ${PARTS.join(", ")}, and profile.`);
const wanted = (part) => positionals.length === 0 || positionals.includes(part);

const began = performance.now();
const verdicts = new Verdicts();
const chromium = await openChromium();
// Parts that this run leaves out stay as they were, with the day and the host they were measured on.
const path = fileURLToPath(new URL("results.json", import.meta.url));
const facts = {
  date: new Date().toISOString().slice(0, 10), node: process.version, chromium: chromium.version, processor: cpus()[0]?.model, cores: cpus().length,
  rounds: options.rounds, scale: options.scale, load: Number(loadavg()[0].toFixed(2)),
};
let kept = {};
try {
  kept = JSON.parse(readFileSync(path));
} catch { /* the first run */ }
const profiles = {};
const context = { ...options, chromium, verdicts, profiles };
const measure = {
  boot: () => measureBoot(context),
  64: () => measurePrograms(64, context),
  32: () => measurePrograms(32, context),
  nested: () => measureNested(context),
  sizes: () => measureSizes(context),
};
try {
  for (const part of PARTS.filter(wanted)) {
    const before = verdicts.all.length;
    const results = await measure[part]();
    if (results.profile) profiles[part] = results.profile;
    kept[KEYS[part]] = { measured: facts, verdicts: verdicts.all.slice(before), ...results };
  }
} finally {
  await chromium.close();
}
const report = Object.fromEntries(PARTS.map((part) => KEYS[part]).filter((key) => kept[key]).map((key) => [key, kept[key]]));
writeFileSync(path, `${JSON.stringify(report, (_, value) => (typeof value === "number" ? Number(value.toFixed(3)) : value), 1)}\n`);

heading(`Marks (${verdicts.all.filter(({ verdict }) => verdict === "met").length} of ${verdicts.all.length} met)`);
for (const { what, value, mark, verdict } of verdicts.all) console.log(`  ${verdict.padEnd(12)} ${what}: ${value ?? "-"}, ${mark}`);
console.log(`\nWritten to benchmarks/results.json. This took ${((performance.now() - began) / 60_000).toFixed(0)} minutes.`);
