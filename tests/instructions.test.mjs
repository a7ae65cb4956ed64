// Single instructions in the WebAssembly build: the same answers as the native one, and the decoder held against iced-x86.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import * as iced from "iced-x86";

import { compileCore, instantiateCore } from "../web/loader.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const most = 64 << 20;
const run = (program, args, input) => spawnSync(program, args, { input, maxBuffer: most, timeout: 120_000 });

test("vectors: The WebAssembly build and the native one answer the same bytes", () => {
  const cases = run(here("../build/native/tests/silicon/cases"), ["--cases", "30000", "--seed", "7"]).stdout;
  assert.ok(cases.length > 30000 * 200);
  const native = run(here("../matryoshka"), ["--native", "vectors"], cases);
  const wasm = run(here("../matryoshka"), ["vectors", "--stats"], cases);
  assert.equal(native.status, 0);
  assert.equal(wasm.status, 0);
  assert.match(wasm.stderr.toString(), /^30000 cases, \d+ a second$/m);
  assert.ok(native.stdout.equals(wasm.stdout));
});

test("vectors: Each case compiled, the same answers", () => {
  const cases = run(here("../build/native/tests/silicon/cases"), ["--cases", "20000", "--seed", "11"]).stdout;
  const native = run(here("../matryoshka"), ["--native", "vectors"], cases);
  const compiled = run(here("../matryoshka"), ["vectors", "--engine", "jit", "--stats"], cases);
  assert.equal(compiled.status, 0, compiled.stderr.toString());
  const [, count] = /^(\d+) instructions in regions$/m.exec(compiled.stderr.toString());
  assert.ok(count > 7_000, `only ${count} instructions ran in regions`);
  assert.ok(native.stdout.equals(compiled.stdout));
});

test("vectors: Foreign and cut input is refused with a sentence", () => {
  const foreign = run(here("../matryoshka"), ["vectors"], "ELF, no cases");
  assert.equal(foreign.status, 2);
  assert.match(foreign.stderr.toString(), /does not begin with 'MVEC'/);
  const cut = run(here("../matryoshka"), ["vectors"], Buffer.from([0x4d, 0x56, 0x45, 0x43, 1, 0, 0, 0, 99, 0]));
  assert.equal(cut.status, 2);
  assert.match(cut.stderr.toString(), /ends inside a case/);
  assert.equal(run(here("../matryoshka"), ["vectors", "--engine", "steam"]).status, 2);
});

// What iced knows and the table does not: extensions of other years and vendors.
const foreign = /^AMX|MVEX|KNC|D3NOW|XOP|FMA4|SVM|SSE4A|TBM|LWP|CLZERO|MCOMMIT|RDPRU|SNP|INVLPGB|TLBSYNC|SKINIT|MONITORX|VMX|SMX|SGX|CET|RTM|HLE|TSXLDTRK|WAITPKG|GFNI|VAES|VPCLMULQDQ|VNNI|MOVDIR|ENQCMD|^PT|PTWRITE|CLWB|PCOMMIT|PCONFIG|WBNOINVD|SERIALIZE|UINTR|HRESET|CLDEMOTE|KL|PADLOCK|CYRIX|TDX|SEAM|UDBG|ZALLOC|MSRLIST|WRMSRNS|CMPCCXADD|RAO|PREFETCHI|PBNDKB|^TSE$|VIA|GEODE|CENTAUR|MPX|AVX_|SM3|SM4|SHA512|USER_MSR|FRED|LKGS|GMI|ALTINST|RPRED|MOVRS|CLRSSBSY|PREFETCHW|XSS|OSS/;
// Why the table takes what iced refuses, by mnemonic of the row or by bytes.
function explained(bits, bytes, text) {
  if (/^mov (cr|dr)|, (cr|dr)\d/.test(text)) return "which control and debug registers exist is asked when the instruction runs";
  if (/^mov.*(\?|\bcs\b)/.test(text)) return "which segment registers may be loaded is asked when the instruction runs";
  if (/^nop/.test(text)) return "0F 1A and 0F 1B are NOPs without MPX";
  if (/^(E?V|K)[A-Z]/.test(text)) return "VEX and EVEX rows are there for their lengths; what VEX.vvvv and the like may be is not asked of them";
  return null;
}

test("decode: Lengths and legality are those of iced-x86", async () => {
  const { exports, memory } = instantiateCore(await compileCore(readFileSync(here("../build/wasm/matryoshka.wasm"))));
  const names = new Map(Object.entries(iced.CpuidFeature).filter(([, v]) => typeof v === "number").map(([k, v]) => [v, k]));
  const seed = 3, strings = 60_000;
  let state = seed;
  const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const prefixes = [0x66, 0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x2e, 0x36, 0x26, 0x3e, 0x64, 0x65, 0x48, 0x41, 0x44, 0x4f];
  const differing = new Map();
  for (const bits of [16, 32, 64]) {
    let agreed = 0;
    for (let n = 0; n < strings; n++) {
      const bytes = [];
      for (let k = random(4); k > 1; k--) bytes.push(prefixes[random(16)]);
      const map = random(8);
      if (map >= 3) bytes.push(0x0f);
      if (map === 5) bytes.push(0x38);
      if (map === 6) bytes.push(0x3a);
      if (map === 2 && random(2)) bytes.push(0xc4 + random(2));
      if (map === 1 && random(2)) bytes.push(0x62, (random(16) << 4) | (bits === 64 ? 0 : 0xc0) | (1 + random(3)), random(256) | 4);
      while (bytes.length < 15) bytes.push(random(256));
      new Uint8Array(memory.buffer, exports.mx_vectors_buffer(15), 15).set(bytes);
      const length = exports.mx_decode(15, bits, 0x1000);
      const text = Buffer.from(memory.buffer, exports.mx_text(), exports.mx_text_size()).toString();
      const decoder = new iced.Decoder(bits, Uint8Array.from(bytes), iced.DecoderOptions.None);
      const theirs = decoder.decode();
      const features = [...theirs.cpuidFeatures()].map((f) => names.get(f) ?? "");
      const valid = !theirs.isInvalid;
      const hex = Buffer.from(bytes).toString("hex");
      if (valid && length > 0 && length === theirs.length) agreed++;
      else if (valid && length > 0) differing.set(`length ${length} for ${theirs.length}, ${text}`, `${bits} ${hex}`);
      // Intel has SYSCALL and SYSRET in 64-bit mode alone.
      else if (valid && !features.some((f) => foreign.test(f)) && !(bits !== 64 && features.includes("SYSCALL"))) differing.set(`refused ${iced.Mnemonic[theirs.mnemonic]} ${features}`, `${bits} ${hex}`);
      else if (!valid && length > 0 && !explained(bits, bytes, text)) differing.set(`accepted ${text.split(" ")[0]}`, `${bits} ${hex} ${text}`);
      theirs.free();
      decoder.free();
    }
    assert.ok(agreed > strings / 3);
  }
  assert.deepEqual([...differing], [], `seed ${seed}`);
});
