// Privileged behaviour: each bare-metal program passes whole, natively and as WebAssembly.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { assemble, engines, lockstep, programs, readable, runProgram } from "./baremetal/engines.mjs";
import { cameOf, explain, golden, kept, portion, runRounds, shortly } from "./baremetal/mutations/rounds.mjs";

const program = fileURLToPath(new URL("../matryoshka", import.meta.url));
const page = readFileSync(fileURLToPath(new URL("../docs/baremetal.md", import.meta.url)), "utf8");

for (const name of programs) {
  describe(`baremetal: ${name}`, () => {
    const image = assemble(name);
    const ours = ["Matryoshka", "Matryoshka (wasm)", "Matryoshka (wasm, all compiled)"].map((engine) => [engine, engines[engine]]);
    for (const [engine, run] of [...ours, ["Matryoshka (in lockstep)", lockstep]]) {
      test(engine, (t) => {
        const { tests, output } = runProgram(name, run, image);
        assert.notEqual(tests.length, 0, "the program's table is empty");
        if (name.startsWith("vmx_") && tests.every(({ outcome }) => outcome === "SKIP")) {
          t.skip("the default processor model shows no VT-x");
          return;
        }
        const wrong = tests.filter(({ outcome }) => outcome !== "PASS");
        assert.deepEqual(
          wrong.map(({ name: row, outcome, noted, expected }) => `${row}: ${outcome} noted ${readable(noted)}, expected ${readable(expected)}`), [],
        );
        assert.match(output, /\nEND\n/, "the program did not come to its end");
        assert.ok(page.includes(`| ${name} | ${tests.length} |`), `docs/baremetal.md is older than ${name}; tests/baremetal/compare makes it anew`);
      });
    }
  });
}

// Random VMCSs against what Bochs has answered: each is the same, or differs as it may.
describe("baremetal: random VMCSs", () => {
  const answers = readFileSync(golden, "utf8").split("\n").slice(0, kept);
  for (const [engine, run] of [...Object.entries(engines).filter(([name]) => name.startsWith("Matryoshka")), ["Matryoshka (in lockstep)", lockstep]])
    test(engine, () => {
      for (let first = 0; first < kept; first += portion) {
        const rounds = runRounds(run, first);
        assert.equal(rounds.length, portion);
        const wrong = rounds.filter((round) => answers[round.number] && explain(round, cameOf(answers[round.number])) === null);
        assert.deepEqual(wrong.map((round) => `${round.number}: ${shortly(round)}, and Bochs says ${answers[round.number]}`), []);
      }
    });
});

// Nothing goes by who writes a VMCS, or how: the checks, exits and qualifications are those of its fields.
test("baremetal: the order in which fields are written does not matter", () => {
  const [usual, permuted] = [false, true].map((order) => runRounds(engines.Matryoshka, 0, { permuted: order }).map(shortly));
  assert.equal(usual.length, portion);
  assert.deepEqual(permuted, usual);
});

// Every exit reason that this processor raises is raised by a program whose every row has passed, and so was expected there; and
// no other is.
test("baremetal: every exit reason has a case", () => {
  const table = readFileSync(fileURLToPath(new URL("../vmx-model/exit_reasons.def", import.meta.url)), "utf8");
  const raised = [...table.matchAll(/^EXIT\((\w+), (\d+), yes/gm)].map(([, name, number]) => ({ name, number: Number(number) }));
  // One processor cannot send itself a SIPI while it waits for one: vmx_events_test.cpp.
  const elsewhere = ["sipi"];
  const seen = new Set();
  const place = mkdtempSync(join(tmpdir(), "baremetal-exits-"));
  try {
    for (const name of programs.filter((candidate) => candidate.startsWith("vmx_"))) {
      const trace = join(place, name);
      spawnSync(program, [
        "--native", "-cpu", "matryoshka,+monitor", "-bios", assemble(name), "-m", "64", "-serial", "none", "-device", "isa-debug-exit,iobase=0xf4",
        "--max-instructions", "300M", "--trace", `vmexit=${trace}`,
      ], { input: "", timeout: 60_000 });
      for (const line of readFileSync(trace, "utf8").trim().split("\n")) {
        const { kind, reason } = JSON.parse(line);
        if (kind !== "entry" && reason !== undefined) seen.add(reason);
      }
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  assert.deepEqual(raised.filter(({ name, number }) => !seen.has(number) && !elsewhere.includes(name)), [], "reasons without a case");
  const known = new Set(raised.map(({ number }) => number));
  assert.deepEqual([...seen].filter((reason) => !known.has(reason)), [], "reasons that the table does not have as raised");
});

// The last bytes of a ROM: 16-bit code at the reset vector.
function rom(code) {
  const image = new Uint8Array(0x10000);
  image.set(code, 0xfff0 - 0x10);
  image.set([0xe9, 0xed, 0xff], 0xfff0);  // jmp to 16 bytes before
  return image;
}

for (const engine of [["--native"], []]) {
  test(`baremetal: --stats has the last POST code ${engine.join(" ") || "(wasm)"}`, () => {
    const place = mkdtempSync(join(tmpdir(), "baremetal-post-"));
    try {
      const image = join(place, "rom"), stats = join(place, "stats");
      // mov al, 41h; out 80h, al; inc ax; mov dx, 190h; out dx, al; mov dl, F4h; dec dh; out dx, al
      writeFileSync(image, rom([0xb0, 0x41, 0xe6, 0x80, 0x40, 0xba, 0x90, 0x01, 0xee, 0xb2, 0xf4, 0xfe, 0xce, 0xee, 0xf4]));
      const { status } = spawnSync(program, [
        ...engine, "-bios", image, "-serial", "none", "-device", "isa-debug-exit,iobase=0xf4", "--stats", stats,
      ], { input: "", timeout: 60_000 });
      assert.equal(status, 0x42 << 1 | 1);
      assert.equal(JSON.parse(readFileSync(stats, "utf8")).post_code, 0x42);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });
}
