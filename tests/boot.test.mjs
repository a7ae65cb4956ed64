// The small Linux boots, and a run repeats: natively and as WebAssembly, from a snapshot, from a recording.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "matryoshka-boot-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name) => join(folder, name);

const small64 = ["-m", "128M", "-kernel", `${root}build/guest/bzImage64`, "-initrd", `${root}build/guest/initrd64.lz4`, "-append", "console=ttyS0 quiet"];
const small32 = ["-cpu", "qemu32", "-m", "128M", "-kernel", `${root}build/guest/bzImage32`, "-initrd", `${root}build/guest/initrd32.lz4`, "-append", "console=ttyS0 quiet"];
// Natively all is interpreted; in WebAssembly hot code is compiled.
const engines = { native: ["--native"], wasm: [], "wasm, interpreted": ["--engine", "interp"] };

function run(engine, ...args) {
  const result = spawnSync(`${root}matryoshka`, [...engines[engine], "--clock", "virtual", ...args], { encoding: "utf8", input: "", timeout: 300_000, maxBuffer: 1 << 26 });
  const hashes = result.stderr.split("\n").filter((line) => line.startsWith("hash "));
  return { ...result, hashes, complaint: result.stderr.split("\n").filter((line) => line && !line.startsWith("hash ")).join("\n") };
}

function equalHashes(args, least) {
  const [native, wasm] = ["native", "wasm"].map((engine) => run(engine, ...args));
  for (const result of [native, wasm]) assert.equal(result.status, 0, result.complaint);
  assert.ok(native.hashes.length >= least, `only ${native.hashes.length} hashes`);
  assert.deepEqual(wasm.hashes, native.hashes);
  assert.equal(wasm.stdout, native.stdout);
  return native;
}

describe("boot", () => {
  test("64 bits: equal state hashes natively and as WebAssembly, all the way to the prompt", () => {
    const { stdout } = equalHashes([...small64, "--hash-every", "10M", "--until", "INIT-READY"], 8);
    assert.match(stdout, /INIT-READY/);
  });

  test("32 bits: the same", () => {
    equalHashes([...small32, "--hash-every", "10M", "--until", "INIT-READY"], 5);
  });

  for (const [bits, small] of [[64, small64], [32, small32]])
    test(`${bits} bits: the same states when everything is compiled before it runs`, () => {
      const boot = [...small, "--hash-every", "10M", "--until", "INIT-READY"];
      const compiled = run("wasm", ...boot, "--jit-after", "1", "--stats", at("stats"));
      assert.equal(compiled.status, 0, compiled.complaint);
      assert.deepEqual(compiled.hashes, run("native", ...boot).hashes);
      const { instructions } = JSON.parse(readFileSync(at("stats")));
      assert.ok(instructions.regions > 10 * instructions.interpreter, "hardly anything should have been interpreted");
    });

  for (const [bits, small] of [[64, small64], [32, small32]])
    test(`${bits} bits: every run of a region comes to what the interpreter comes to`, () => {
      const { status, complaint } = run("wasm", ...small, "--engine", "verify", "--until", "INIT-READY");
      assert.equal(status, 0, complaint);
      const count = Number(/Verified ([\d ]+) instructions/.exec(complaint)[1].replaceAll(" ", ""));
      assert.ok(count > 10_000_000, `only ${count} instructions were verified`);
    });

  test("the JIT changes nothing that a guest can see, over a whole run of a program", () => {
    const job = ["--hash-every", "50M", "--type", '~ # =>i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo job $i\\n', "--until", "^job 20000"];
    const [compiled, interpreted] = ["wasm", "wasm, interpreted"].map((engine) => run(engine, ...small64, ...job, "--stats", at(`stats-${engine}`)));
    assert.equal(compiled.status, 0, compiled.complaint);
    assert.deepEqual(compiled.hashes, interpreted.hashes);
    const { instructions, jit } = JSON.parse(readFileSync(at("stats-wasm")));
    assert.ok(jit.regions > 20, `only ${jit.regions} regions`);
    assert.ok(instructions.regions > instructions.interpreter, "most of it should have run in regions");
  });

  test("programs run, and the kernel has nothing to complain about", () => {
    const { stdout, status } = run("native", ...small64.slice(0, -1), "console=ttyS0 quiet cmd=uname,-m;dmesg,-r;cat,/proc/interrupts;echo,сто,матрёшек");
    assert.equal(status, 0);
    assert.match(stdout, /^x86_64\r$/m);
    assert.match(stdout, /сто матрёшек/);
    // Kernel messages of level "warning" and worse.
    assert.deepEqual(stdout.match(/^<[0-4]>.*/gm) ?? [], []);
    assert.doesNotMatch(stdout, /unchecked MSR access/);
  });

  // Where a run is saved, loaded and saved again with changes: at random, but the same each time.
  const points = [
    ["native", "wasm", small64, 12_345_678, 9_876_543],
    ["wasm", "native", small64, 41_421_356, 17_320_508],
    ["native", "wasm", small32, 27_182_818, 31_415_926],
    ["wasm", "native", small32, 5_772_156, 16_180_339],
  ];
  for (const [engine, other, small, at1, more] of points)
    test(`a snapshot goes on exactly as the machine would have, and so do changes to it (${engine}, ${small === small64 ? 64 : 32} bits, tick ${at1})`, () => {
      const well = (result) => {
        assert.equal(result.status, 0, result.complaint);
        return result.hashes;
      };
      const whole = at("whole"), changes = at("changes"), then = ["--hash-every", "10M", "--until", "INIT-READY"];
      const [saved] = well(run(engine, ...small, "--stop-at", `${at1}`, "--save-state", whole));
      const tick = Number(saved.split(" ")[1]);
      // Saving drops translations in the saved machine too, so the one that went on is one that was loaded.
      const one = well(run(engine, "--load-state", whole, ...then));
      assert.deepEqual(well(run(other, "--load-state", whole, ...then)), one);
      assert.ok(one.length >= 2);
      const there = well(run(other, "--load-state", whole, "--stop-at", `${tick + more}`, "--save-changes", changes));
      assert.deepEqual(well(run(engine, "--load-state", whole, "--stop-at", `${tick + more}`)), there);
      const on = well(run(engine, "--load-state", changes, "--base", whole, ...then));
      assert.deepEqual(well(run(other, "--load-state", changes, "--base", whole, ...then)), on);
    });

  test("what was typed is recorded, and a replay repeats it bit for bit", () => {
    const typed = ["--type", "[#$] $=>echo typed $((6*7))\\n", "--until", "typed 42"];
    const recorded = run("native", ...small64, ...typed, "--record", at("log"), "--hash-every", "20M");
    assert.equal(recorded.status, 0, recorded.complaint);
    const replayed = run("wasm", ...small64, "--replay", at("log"), "--until", "typed 42", "--hash-every", "20M");
    assert.equal(replayed.status, 0, replayed.complaint);
    assert.deepEqual(replayed.hashes, recorded.hashes);
  });

  for (const engine of Object.keys(engines))
    test(`the largest memory there is: Linux finds it (${engine})`, () => {
      const { stdout, status, complaint } = run(engine, "-m", "3584M", ...small64.slice(2, -1), "console=ttyS0", "--until", "Memory: .*available");
      assert.equal(status, 0, complaint);
      assert.match(stdout, /Linux version/);
      // 3 GiB below the hole, the rest from 4 GiB on.
      assert.match(stdout, /\[mem 0x0000000100000000-0x000000011fffffff\] usable/);
    });

  test("--stop-at stops there", () => {
    const { stderr, status } = run("native", ...small64, "--stop-at", "12345678", "--stats", at("stats"));
    assert.equal(status, 0, stderr);
    assert.match(stderr, /hash 1234\d{4} /);
    assert.ok(JSON.parse(readFileSync(at("stats"))).ticks >= 12345678);
  });
});
