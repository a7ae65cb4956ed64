// Linux's selftests/x86 pass in the machine; tests/selftests.mjs runs them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { cannot, inMachine, row } from "./selftests.mjs";

const page = readFileSync(new URL("../docs/selftests.md", import.meta.url), "utf8").split("\n");

// iopl tries whether CLI is forbidden, and the kernel says so.
const expected = /attempts to use CLI\/STI, pretending it's a NOP/;

describe("selftests", () => {
  const runs = {};
  for (const [bits, programs] of [[64, 44], [32, 23]])
    test(`Linux's selftests/x86, ${programs} of them, on the ${bits}-bit kernel`, () => {
      const run = (runs[bits] = inMachine(bits));
      assert.equal(run.ended, 0, run.complaint);
      assert.equal(Object.keys(run.status).length, programs);
      for (const [name, status] of Object.entries(run.status))
        assert.equal(status === 0, !(name in cannot), `${name} ended with ${status} and said:\n${run.said[name].slice(-30).join("\n")}`);
      assert.ok(run.log.length > 50, "no kernel messages came");
      assert.deepEqual(run.log.filter((line) => /^<[0-4]>/.test(line) && !expected.test(line)), []);
    });

  test("docs/selftests.md shows what came out", () => {
    for (const name of Object.keys(runs[64].status)) {
      const start = row(name, [runs[64], runs[32]]);
      assert.ok(page.some((line) => line.startsWith(start)), `docs/selftests.md has no line that begins ${start}; node tests/selftests.mjs makes it anew`);
    }
  });
});
