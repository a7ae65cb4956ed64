// The WebAssembly module itself: what it imports, and the rules that its speed depends on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { Core } from "../web/core.js";
import { compileCore, instantiateCore } from "../web/loader.js";
import { guests } from "./tiny_guests.mjs";

const bytes = readFileSync(process.env.MATRYOSHKA_CORE ?? fileURLToPath(new URL("../build/wasm/matryoshka.wasm", import.meta.url)));
const module = await compileCore(bytes);

test("the core imports what loader.js supplies and nothing else", () => {
  instantiateCore(module);
  for (const { module: from, name } of WebAssembly.Module.imports(module))
    assert.ok(["host", "env", "wasi_snapshot_preview1"].includes(from), `${from}.${name}`);
});

test("the slice is a function of its own, which JavaScript calls", () => {
  // Inlined into something that is entered once, the run loop would stay in V8's first tier for seconds.
  const names = WebAssembly.Module.exports(module).filter((entry) => entry.kind === "function").map((entry) => entry.name);
  assert.ok(names.includes("mx_run"));
});

test("the memory asked for follows the machine", async () => {
  const args = (memory) => ["-kernel", "K", "-m", memory];
  const size = async (memory) => {
    const { plan } = Core.plan(module, args(memory));
    const core = await Core.create(module, args(memory), plan, [guests.loop()], { output() {} });
    return core.memoryBytes / (1 << 20);
  };
  const small = await size("16M"), large = await size("256M");
  assert.ok(small < 16 + 64, `${small} MB for 16 MB`);
  assert.ok(large < 256 + 64, `${large} MB for 256 MB`);
});

test("the core stays small: under 600 KB as it travels", () => {
  assert.ok(gzipSync(bytes).length < 600_000);
});

// What a browser says when it does not compile the JIT's code; the core itself is compiled already.
for (const [state, said, complaints] of [
  ["forbidden", "WebAssembly.Module(): Refused because 'unsafe-eval' is not allowed by the Content Security Policy", 0],
  ["failed", "WebAssembly.Module(): invalid local index", 1],
])
  test(`where compiling has ${state === "failed" ? "failed" : "been forbidden"} the interpreter goes on, and the machine says so`, async (t) => {
    const args = ["-kernel", "K", "-m", "16M", "--jit-after", "1"];
    const { plan } = Core.plan(module, args);
    const core = await Core.create(module, args, plan, [guests.loop()], { output() {} });
    t.mock.method(WebAssembly, "Module", function () {
      throw new WebAssembly.CompileError(said);
    });
    const { mock: console_error } = t.mock.method(console, "error", () => {});
    assert.equal(core.compiling, "well");
    for (let i = 0; i < 400; i++) core.run(20_000);
    assert.equal(core.compiling, state);
    assert.equal(core.ticks, 8_000_000);
    assert.equal(console_error.callCount(), complaints);
  });
