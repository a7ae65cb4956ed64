// ./matryoshka, the WebAssembly build and the native one: what they print, and the exit status for every way to end.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { DEBUG_EXIT, guests } from "./tiny_guests.mjs";

const program = fileURLToPath(new URL("../matryoshka", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "matryoshka-cli-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function file(name, bytes) {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
const kernel = {
  exit: file("exit", guests.exit(21)),
  print: file("print", guests.printAndExit("Hello, мир\r\n", 0)),
  printAndLoop: file("print-loop", guests.printAndLoop("login: ")),
  loop: file("loop", guests.loop()),
  halt: file("halt", guests.halt()),
  tripleFault: file("triple", guests.tripleFault()),
  reset: file("reset", guests.reset()),
  echo: file("echo", guests.echo("say: ")),
};

const disk = file("disk", new Uint8Array(4096).fill(7)), changedDisk = file("changed-disk", new Uint8Array(4096).fill(8));
const random = (seed) => () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;

for (const engine of [[], ["--native"]]) {
  const run = (...args) => spawnSync(program, [...engine, ...args], { encoding: "utf8", input: "", timeout: 60_000 });
  const ends = (args, status, stderr = /^$/, stdout = /^/) => {
    const result = run(...args);
    assert.match(result.stderr, stderr);
    assert.match(result.stdout, stdout);
    assert.equal(result.status, status);
    return result;
  };

  describe(`matryoshka ${engine.join(" ") || "(wasm)"}`, () => {
    test("debug-exit gives QEMU's status", () => ends(["-kernel", kernel.exit, ...DEBUG_EXIT], 43));

    test("serial output arrives as it is", () => {
      const { stdout } = ends(["-kernel", kernel.print, ...DEBUG_EXIT], 1);
      assert.equal(stdout, "Hello, мир\r\n");
    });

    test("--until ends with 0 at the match", () => {
      const { stdout } = ends(["-kernel", kernel.printAndLoop, "--until", "og.n:"], 0);
      assert.equal(stdout, "login:");
    });

    test("--until matches UTF-8", () => {
      ends(["-kernel", kernel.print, ...DEBUG_EXIT, "--until", "^Hello, м.*р"], 0);
    });

    test("--type answers in order, each once", () => {
      const { stdout } = ends(["-kernel", kernel.echo, ...DEBUG_EXIT, "--type", "say: $=>one", "--type", "one=>\\x32q"], 1);
      assert.equal(stdout, "say: one2");
    });

    test("keys from standard input reach the guest", () => {
      const result = spawnSync(program, [...engine, "-kernel", kernel.echo, ...DEBUG_EXIT], { encoding: "utf8", input: "Привет\nq", timeout: 60_000 });
      assert.equal(result.stdout, "say: Привет\n");
      assert.equal(result.status, 1);
    });

    test("--max-instructions ends with 3", () => ends(["-kernel", kernel.loop, "--max-instructions", "100k"], 3, /limit of --max-instructions/));

    test("--stop-at stops at the tick and prints the hash; --hash-every prints on the way", () => {
      const { stderr } = ends(["-kernel", kernel.loop, "--stop-at", "250000", "--hash-every", "100k"], 0, /./);
      assert.deepEqual(stderr.match(/^hash \d+/gm), ["hash 100000", "hash 200000", "hash 250000"]);
    });

    test("--stop-at and --hash-every stop at the first boundary at or after their ticks", () => {
      // A port access costs 501 ticks, so most of these multiples fall inside one.
      const args = ["-kernel", kernel.printAndLoop, "--hash-every", "100", "--stop-at"];
      const ticks = ends([...args, "5000"], 0, /./).stderr.match(/(?<=^hash )\d+/gm).map(Number);
      assert.ok(ticks.some((tick) => tick % 100 !== 0), "no port access was met");
      ticks.reduce((before, tick) => {
        assert.ok(Math.floor(tick / 100) > Math.floor(before / 100), `${before} and ${tick} answer for the same multiple`);
        return tick;
      }, 0);
      const last = ticks.at(-1);
      assert.ok(last >= 5000 && last < 5501);
      // Stopping anywhere on the way changes nothing: the same boundary, the same state.
      const inside = ends(["-kernel", kernel.printAndLoop, "--stop-at", String(ticks[0] - 1)], 0, /./).stderr;
      assert.match(inside, new RegExp(`^hash ${ticks[0]} `));
    });

    test("a triple fault with -no-reboot ends with 4 and says where", () => {
      ends(["-kernel", kernel.tripleFault, "-no-reboot"], 4, /triple fault/);
    });

    test("a reset with -no-reboot ends with 0", () => ends(["-kernel", kernel.reset, "-no-reboot"], 0));

    test("a guest that nothing can wake ends with 3", () => ends(["-kernel", kernel.halt], 3, /nothing can wake it/));

    test("--stats writes JSON", () => {
      const path = join(folder, "stats.json");
      ends(["-kernel", kernel.exit, ...DEBUG_EXIT, "--stats", path], 43);
      const stats = JSON.parse(readFileSync(path, "utf8"));
      assert.equal(stats.ended, "debug-exit");
      assert.equal(stats.status, 43);
      assert.ok(stats.ticks > 0 && stats.wall_seconds > 0 && stats.peak_memory_bytes > 0);
    });

    test("-serial file:F and none", () => {
      const path = join(folder, "serial.txt");
      const { stdout } = ends(["-kernel", kernel.print, ...DEBUG_EXIT, "-serial", `file:${path}`], 1);
      assert.equal(stdout, "");
      assert.equal(readFileSync(path, "utf8"), "Hello, мир\r\n");
      assert.equal(ends(["-kernel", kernel.print, ...DEBUG_EXIT, "-serial", "none"], 1).stdout, "");
    });

    test("a loaded machine goes on as the saved one would have, on either build", () => {
      const state = join(folder, "state"), later = join(folder, "later"), changes = join(folder, "changes");
      const hash = (...args) => ends(args, 0, /./).stderr;
      const other = (...args) => spawnSync(program, [...(engine.length ? [] : ["--native"]), ...args], { encoding: "utf8", input: "" }).stderr;
      hash("-kernel", kernel.printAndLoop, "--stop-at", "100k", "--save-state", state);
      const at150 = hash("--load-state", state, "--stop-at", "150k", "--save-changes", changes, "--save-state", later);
      const at200 = hash("--load-state", state, "--stop-at", "200k");
      assert.match(at150, /^hash 150000 /);
      assert.equal(other("--load-state", state, "--stop-at", "150k"), at150);
      for (const run of [hash, other]) {
        assert.equal(run("--load-state", changes, "--base", state, "--stop-at", "200k"), at200);
        assert.equal(run("--load-state", later, "--stop-at", "200k"), at200);
      }
      assert.ok(readFileSync(changes).length < readFileSync(state).length);
    });

    test("what goes wrong with a base, and with drives, is said with the cure", () => {
      const state = join(folder, "s"), other = join(folder, "o"), changes = join(folder, "c"), driven = join(folder, "d");
      ends(["-kernel", kernel.loop, "--stop-at", "1000", "--save-state", state], 0, /./);
      ends(["-kernel", kernel.halt, "--save-state", other], 3, /./);
      ends(["--load-state", state, "--stop-at", "2000", "--save-changes", changes], 0, /./);
      ends(["-kernel", kernel.loop, "-drive", `file=${disk}`, "--stop-at", "1000", "--save-state", driven], 0, /./);
      const stop = ["--stop-at", "3000"];
      ends(["--load-state", changes, ...stop], 2, /^matryoshka: The snapshot '.*c' is refused: it holds only the changes since another snapshot; give that one as well, with --base FILE\.\n$/);
      ends(["--load-state", changes, "--base", other, ...stop], 2, /^matryoshka: The snapshot '.*c' is refused: it holds the changes since another snapshot than/);
      ends(["--load-state", changes, "--base", changes, ...stop], 2, /^matryoshka: The base '.*c' is refused: it holds only changes itself/);
      ends(["--load-state", state, "--base", state, ...stop], 2, /^matryoshka: The snapshot '.*s' is refused: it is a whole snapshot, which has no base; leave --base away/);
      ends(["--load-state", driven, ...stop], 2, /Its drive '.*disk' of 4 096 bytes is not in it; give it again with -drive/i);
      ends(["--load-state", driven, "-drive", `file=${changedDisk}`, ...stop], 2, /is none of those given; give it as it was then/);
      ends(["--load-state", driven, "-drive", `file=${disk}`, "-drive", `file=${changedDisk}`, ...stop], 2, /has no drive like '.*changed-disk'/);
      ends(["--load-state", driven, "-drive", `file=${disk}`, ...stop], 0, /^hash 3000 /);
    });

    test("a snapshot of version 1 goes on", () => {
      const old = file("version-1", gunzipSync(readFileSync(new URL("snapshots/version-1.gz", import.meta.url))));
      const { stdout, status } = spawnSync(program, [...engine, "--load-state", old], { encoding: "utf8", input: "deq", timeout: 60_000 });
      assert.equal(stdout, "de");
      assert.equal(status, 1);
    });

    test("a snapshot that is cut off, has a wrong bit or unpacks without end is refused", () => {
      const state = join(folder, "whole"), bad = join(folder, "bad");
      ends(["-kernel", kernel.printAndLoop, "--stop-at", "100k", "--save-state", state], 0, /./);
      const right = ends(["--load-state", state, "--stop-at", "200k"], 0, /./).stderr;
      const good = readFileSync(state);
      const refused = (bytes, what) => {
        writeFileSync(bad, bytes);
        const { stderr, status } = run("--load-state", bad, "--stop-at", "200k");
        // Of gzip's own header the time and the system may be anything.
        if (status === 0) return assert.equal(stderr, right, what);
        assert.match(stderr, /^matryoshka: The snapshot '[^\n]*bad' is refused: [^\n]+\.\n$/, what);
        assert.equal(status, 2);
      };
      const next = random(5);
      for (const size of [1, 2, 10, 18, good.length - 8, good.length - 1, ...Array.from({ length: 4 }, () => Math.floor(next() * good.length))])
        refused(good.subarray(0, size), `cut at ${size}`);
      for (let i = 0; i < 12; i++) {
        const at = Math.floor(next() * good.length);
        refused(good.with(at, good[at] ^ (1 << Math.floor(next() * 8))), `byte ${at} of seed 5`);
      }
      refused(Buffer.concat([good, good]), "twice");
      const stream = gunzipSync(good);
      refused(gzipSync(Buffer.concat([stream, Buffer.alloc(100 << 20)])), "a tail without end");
      refused(gzipSync(Buffer.alloc(100 << 20)), "nothing but zeroes");
    });

    test("a recording repeats the run without a keyboard", () => {
      const log = join(folder, "log");
      const first = spawnSync(program, [...engine, "-kernel", kernel.echo, ...DEBUG_EXIT, "--record", log], { encoding: "utf8", input: "abcq", timeout: 60_000 });
      assert.equal(first.stdout, "say: abc");
      const { stdout } = ends(["-kernel", kernel.echo, ...DEBUG_EXIT, "--replay", log], 1);
      assert.equal(stdout, "say: abc");
    });

    test("Ctrl-C ends a run that is not at a terminal with 130", async () => {
      const child = spawn(program, [...engine, "-kernel", kernel.printAndLoop], { stdio: ["ignore", "pipe", "inherit"] });
      await new Promise((resolve) => child.stdout.once("data", resolve));
      child.kill("SIGINT");
      const status = await new Promise((resolve) => child.once("exit", resolve));
      assert.equal(status, 130);
    });

    const text = file("text", "This is no kernel.\n".repeat(100));
    const empty = file("empty", "");
    const half = file("half", guests.printAndExit("x".repeat(100), 0).slice(0, 20));
    const odd = file("odd", new Uint8Array(700));
    const badUsage = [
      ["no options", []],
      ["an option that does not exist", ["-frobnicate"]],
      ["a value that is missing", ["-kernel"]],
      ["a kernel that does not exist", ["-kernel", "/nowhere/kernel"]],
      ["a kernel that is a folder", ["-kernel", folder]],
      ["a kernel that is empty", ["-kernel", empty]],
      ["a kernel that is a text", ["-kernel", text]],
      ["a kernel that is cut off", ["-kernel", half]],
      ["an initrd that does not exist", ["-kernel", kernel.loop, "-initrd", "/nowhere/initrd"]],
      ["an initrd that is empty", ["-kernel", kernel.loop, "-initrd", empty]],
      ["a ROM that is empty", ["-bios", empty]],
      ["a disk of half a sector", ["-kernel", kernel.loop, "-drive", `file=${odd}`], odd],
      ["a snapshot that is none", ["--load-state", text]],
      ["a snapshot that is empty", ["--load-state", empty]],
      ["changes of nothing", ["-kernel", kernel.loop, "--save-changes", join(folder, "x")], "--save-changes"],
      ["a base of nothing", ["-kernel", kernel.loop, "--base", text], "--base"],
      ["a recording that is none", ["-kernel", kernel.loop, "--replay", text]],
      ["a processor that does not exist", ["-kernel", kernel.loop, "-cpu", "abacus"]],
      ["a flag that does not exist", ["-kernel", kernel.loop, "-cpu", "default,+teleport"], "teleport"],
      ["too much memory", ["-kernel", kernel.loop, "-m", "4G"]],
      ["a regular expression that cannot be read", ["-kernel", kernel.loop, "--until", "("]],
      ["a results file in no folder", ["-kernel", kernel.loop, "--stats", "/nowhere/stats"]],
      ["what is not built yet", ["-kernel", kernel.loop, "-smp", "4"]],
    ];
    for (const [what, args, named = args.at(-1) ?? ""] of badUsage) {
      test(`${what}: status 2 and one sentence`, () => {
        const { stderr, stdout } = ends(args, 2, /./);
        assert.match(stderr, /^matryoshka: [^\n]+\.\n$/);
        assert.equal(stdout, "");
        assert.ok(stderr.includes(named), `${stderr} names ${named}`);
      });
    }

    test("--help", () => ends(["--help"], 0, /^$/, /^usage: .\/matryoshka/));
  });
}

test("the two builds agree on the state", () => {
  const hashes = (...engine) =>
    spawnSync(program, [...engine, "-kernel", kernel.printAndLoop, "--stop-at", "1M", "--hash-every", "100k"], { encoding: "utf8", input: "" }).stderr;
  assert.equal(hashes(), hashes("--native"));
});
