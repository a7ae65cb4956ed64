// Privileged behaviour: each bare-metal program passes whole, natively and as WebAssembly.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { assemble, engines, lockstep, programs, readable, runProgram } from "./baremetal/engines.mjs";

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
