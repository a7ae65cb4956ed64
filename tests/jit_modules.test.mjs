// Every module that the JIT emits in these runs is valid to Binaryen too, whose validator owes nothing to V8's.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import binaryen from "binaryen";

import { Core } from "../web/core.js";
import { compileCore } from "../web/loader.js";
import { hardships } from "./jit_hardships.mjs";
import { randomGuest } from "./random_guests.mjs";
import { DEBUG_EXIT } from "./tiny_guests.mjs";

const module = await compileCore(readFileSync(fileURLToPath(new URL("../build/wasm/matryoshka.wasm", import.meta.url))));

// Runs a kernel for so many ticks, and collects what it compiled on the way.
async function modulesOf(kernel, ticks, ...more) {
  const modules = [], Module = WebAssembly.Module;
  WebAssembly.Module = function (bytes) {
    modules.push(bytes);
    return new Module(bytes);
  };
  try {
    const args = ["-kernel", "K", "-m", "16M", ...DEBUG_EXIT, "--jit-after", "1", ...more];
    const { plan } = Core.plan(module, args);
    const core = await Core.create(module, args, plan, [kernel], { output() {} });
    core.setTickLimit(ticks);
    while (core.run(20_000) === "budget");
  } finally {
    WebAssembly.Module = Module;
  }
  return modules;
}

function assertValid(modules) {
  assert.ok(modules.length > 0, "nothing was compiled");
  binaryen.setOptimizeLevel(0);
  for (const bytes of modules) {
    const read = binaryen.readBinaryWithFeatures ? binaryen.readBinaryWithFeatures(bytes, binaryen.Features.All) : binaryen.readBinary(bytes);
    if (!binaryen.readBinaryWithFeatures) read.setFeatures(binaryen.Features.All);
    try {
      assert.equal(read.validate(), 1, "Binaryen refuses a module");
    } finally {
      read.dispose();
    }
  }
}

describe("jit modules", () => {
  for (const bits of [32, 64])
    for (const seed of [1, 2, 3, 4])
      test(`random program ${seed} of ${bits} bits`, async () => assertValid(await modulesOf(randomGuest(seed, bits, 40_000), 300_000)));

  test("the guest of hardships", async () => {
    const folder = mkdtempSync(join(tmpdir(), "matryoshka-modules-"));
    after(() => rmSync(folder, { recursive: true, force: true }));
    assertValid(await modulesOf(hardships(folder), 100_000));
  });

  test("a module with a fault is refused", () => {
    // A function that should answer a number and does not.
    assert.throws(() => assertValid([new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 10, 5, 1, 3, 0, 1, 11])]));
  });
});
