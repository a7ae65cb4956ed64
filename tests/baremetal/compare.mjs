// Runs every bare-metal program on every engine and writes docs/baremetal.md: who passes what, and where each deviates.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { assemble, engines, programs, readable, runProgram } from "./engines.mjs";
import { compared, explain, explanations, golden, kept, portion, runRounds, shortly } from "./mutations/rounds.mjs";

const page = fileURLToPath(new URL("../../docs/baremetal.md", import.meta.url));
// How our own code is run makes no row of its own: the tests hold the three to be equal.
const names = Object.keys(engines).filter((name) => !name.includes("all compiled"));

const results = programs.map((program) => {
  const image = assemble(program);
  const runs = names.map((name) => runProgram(program, engines[name], image).tests);
  const counts = runs.map((tests, i) => {
    const passed = tests.filter(({ outcome }) => outcome === "PASS").length;
    const skipped = tests.filter(({ outcome }) => outcome === "SKIP").length;
    process.stdout.write(`${program}: ${names[i]} ${passed} of ${tests.length}${skipped ? `, ${skipped} not there` : ""}\n`);
    return { passed, skipped };
  });
  return { program, runs, counts, total: runs[0].length };
});

const cells = (values) => `| ${values.join(" | ")} |`;
const figure = ({ passed, skipped }, total) => (passed + skipped === total && !skipped ? "all" : `${passed}${skipped ? ` (${skipped} not there)` : ""}`);
const sum = (values) => values.reduce((a, b) => a + b, 0);

const lines = [
  "# Privileged behaviour, on four engines",
  "",
  "Made by `tests/baremetal/compare` from the programs in [tests/baremetal](../tests/baremetal/). What is expected stands in the table that each",
  "program opens with, and is Intel's architecture as its manuals say. \"Not there\" means that the engine's processor lacks the feature.",
  "Bochs is Debian's 2.7 as `corei7_icelake_u`, QEMU Debian's 7.2 with TCG, `-cpu max` and the vendor string of Intel.",
  "",
  cells(["program", "tests", ...names]),
  cells(["---", "---:", ...names.map(() => "---:")]),
  ...results.map(({ program, total, counts }) => cells([program, total, ...counts.map((count) => figure(count, total))])),
  cells(["**all**", sum(results.map(({ total }) => total)), ...names.map((_, i) => figure(
    { passed: sum(results.map(({ counts }) => counts[i].passed)), skipped: sum(results.map(({ counts }) => counts[i].skipped)) },
    sum(results.map(({ total }) => total)),
  ))]),
  "",
  "## Where an engine deviates",
  "",
  "Numbers are hexadecimal, `#GP(8)` is an exception with its error code, and \"no answer\" means that the program ended before it came there.",
  "",
  cells(["test", "expected", ...names.slice(2)]),
  cells(["---", "---", ...names.slice(2).map(() => "---")]),
];
for (const { program, runs } of results) {
  runs[0].forEach(({ name }, i) => {
    const row = runs.map((tests) => tests[i]);
    if (row.every(({ outcome }) => outcome !== "FAIL")) return;
    const expected = row.find((result) => result.expected)?.expected ?? "";
    lines.push(cells([`${program}: ${name}`, readable(expected) || "nothing", ...row.slice(2).map(
      ({ outcome, noted }) => (outcome === "PASS" ? "" : outcome === "SKIP" ? "not there" : readable(noted) || "nothing"),
    )]));
  });
}

// Random VMCSs, on the one peer that has VT-x.
const differences = new Map(explanations.map(({ name }) => [name, 0])), unexplained = [], answers = [];
let equal = 0, unanswered = 0;
for (let first = 0; first < compared; first += portion) {
  const theirs = new Map(runRounds(engines["Bochs 2.7"], first).map((round) => [round.number, round]));
  for (const round of runRounds(engines.Matryoshka, first)) {
    const other = theirs.get(round.number);
    if (round.number < kept) answers.push(other ? shortly(other) : "");
    const names = other && explain(round, other);
    if (!other) ++unanswered;
    else if (!names) unexplained.push(round.number);
    else if (names.length === 0) ++equal;
    for (const name of names ?? []) differences.set(name, differences.get(name) + 1);
  }
  process.stdout.write(`random VMCSs: ${first + portion} of ${compared}, ${unexplained.length} unexplained\n`);
}
writeFileSync(golden, `${answers.join("\n")}\n`);
lines.push(
  "",
  "## Random VMCSs",
  "",
  "[mutations.asm](../tests/baremetal/mutations/mutations.asm) takes a good VMCS for one of six kinds of guest, changes a field or two, and tries VMLAUNCH.",
  `Of ${compared.toLocaleString("en")} rounds Bochs answers ${equal.toLocaleString("en")} as this machine does, to the last field of the guest's state;`,
  `${unexplained.length === 0 ? "none differs" : `${unexplained.length} differ (${unexplained.slice(0, 5).join(", ")})`} without a reason that [rounds.mjs](../tests/baremetal/mutations/rounds.mjs) knows${unanswered ? `, ${unanswered} have no answer` : ""}.`,
  "",
  cells(["where they differ", "rounds", "the manual's section, and who does what"]),
  cells(["---", "---:", "---"]),
  ...explanations.map(({ name, title }) => cells([name, differences.get(name), title])),
);
writeFileSync(page, `${lines.join("\n")}\n`);
