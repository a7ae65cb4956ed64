// Assembles the bare-metal tests and runs them: on this machine (native and WebAssembly), on QEMU and on Bochs.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const matryoshka = fileURLToPath(new URL("../../matryoshka", import.meta.url));
const images = fileURLToPath(new URL("../../build/baremetal", import.meta.url));

export const programs = readdirSync(folder).filter((name) => name.endsWith(".asm")).map((name) => basename(name, ".asm")).sort();

// The ROM image of a program; throws with what nasm has to say.
export const assemble = (program) => assembleFile(program, program);
export function assembleFile(source, name, options = []) {
  mkdirSync(images, { recursive: true });
  const image = join(images, `${name}.bin`);
  const { status, stderr, error } = spawnSync("nasm", ["-f", "bin", "-I", folder, ...options, "-o", image, join(folder, `${source}.asm`)], { encoding: "utf8" });
  if (error) throw new Error(`nasm cannot be run: ${error.message}. It is in setup/packages-test.txt.`);
  if (status !== 0) throw new Error(stderr);
  return image;
}

function run(command, args, options = {}) {
  const { error } = spawnSync(command, args, { input: "", timeout: 120_000, killSignal: "SIGKILL", ...options });
  if (error?.code === "ENOENT") throw new Error(`${command} cannot be run.`);
}

const ours = (...engine) => (image, place) => {
  const output = join(place, "out");
  run(matryoshka, [
    ...engine, "-cpu", "matryoshka,+monitor", "-bios", image, "-m", "64", "-serial", "none", "-debugcon", `file:${output}`,
    "-device", "isa-debug-exit,iobase=0xf4", "--max-instructions", "3000M",
  ]);
  return readFileSync(output, "latin1");
};

function qemu(image, place) {
  const output = join(place, "out");
  writeFileSync(output, "");
  run("qemu-system-x86_64", [
    "-machine", "pc", "-accel", "tcg", "-cpu", "max,vendor=GenuineIntel", "-m", "64", "-bios", image, "-display", "none", "-monitor", "none", "-serial", "none", "-nic", "none",
    "-debugcon", `file:${output}`, "-global", "isa-debugcon.iobase=0xe9", "-device", "isa-debug-exit,iobase=0xf4",
  ], { timeout: 15_000, stdio: "ignore" });
  return readFileSync(output, "latin1");
}

// Debian's Bochs is the one with the debugger, which has to be told to go on, also after a reset; it wants a sound card, a display and a ROM for it.
function bochs(image, place) {
  const display = Buffer.alloc(512);
  display.set([0x55, 0xaa, 1]);
  display[511] = 0x100 - ((0x55 + 0xaa + 1) & 0xff);
  writeFileSync(join(place, "display.rom"), display);
  writeFileSync(join(place, "commands"), "c\n".repeat(5));
  writeFileSync(join(place, "configuration"), [
    `romimage: file=${image}`, "vgaromimage: file=display.rom", "display_library: term", "megs: 64", "port_e9_hack: enabled=1",
    "cpu: model=corei7_icelake_u, ips=50000000, reset_on_triple_fault=1", "clock: sync=none",
    "sound: driver=dummy", "speaker: enabled=1, mode=none", "log: log", "",
  ].join("\n"));
  const { stdout, error } = spawnSync("bochs", ["-q", "-f", "configuration", "-rc", "commands"], {
    cwd: place, input: "", encoding: "latin1", timeout: 20_000, killSignal: "SIGKILL", env: { ...process.env, TERM: "xterm" }, maxBuffer: 1 << 26,
  });
  if (error?.code === "ENOENT") throw new Error("bochs cannot be run; apt-get install bochs bochs-term.");
  return stdout;
}

// Not among the engines that are compared: it is two of them.
export const lockstep = ours("--engine", "verify", "--jit-after", "1");
export const engines = { "Matryoshka": ours("--native"), "Matryoshka (wasm)": ours(), "Matryoshka (wasm, all compiled)": ours("--jit-after", "1"), "Bochs 2.7": bochs, "QEMU TCG": qemu };

// What an image prints on an engine.
export function output(engine, image) {
  const place = mkdtempSync(join(tmpdir(), "baremetal-"));
  try {
    return engine(image, place);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

// Every test that the program's table names, with what the engine's lines say: { name, outcome, noted, expected }.
export function runProgram(program, engine, image = assemble(program)) {
  const text = output(engine, image);
  const lines = new Map();
  for (const [, name, outcome, rest = ""] of text.matchAll(/(?:^|\n)(\w+): (PASS|FAIL|SKIP)(.*)(?=\n)/g)) {
    const [noted, expected = ""] = rest.replace(/^ noted/, "").split(" expected");
    lines.set(name, { name, outcome, noted: noted.trim(), expected: expected.trim() });
  }
  // Programs whose tests all have one shape name them by a macro of their own, which comes to TEST in the end.
  const table = readFileSync(join(folder, `${program}.asm`), "utf8").matchAll(/^ *(?:TEST|CHECK|CASE) (\w+)/gm);
  const tests = [...table].map(([, name]) => lines.get(name) ?? { name, outcome: "FAIL", noted: "no answer", expected: "" });
  return { tests, output: text };
}

// F00D0000 and the like, as the tables write them.
const names = ["DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "9", "TS", "NP", "SS", "GP", "PF", "15", "MF", "AC", "MC", "XM"];
export function readable(notes) {
  return notes.replace(/\b(F0|E0)([0-9A-F]{2})([0-9A-F]{4})\b/g, (_, kind, vector, error) => {
    const number = parseInt(vector, 16), name = names[number] ? `#${names[number]}` : `vector ${vector}h`;
    return kind === "F0" ? name : `${name}(${parseInt(error, 16).toString(16)})`;
  }).replace(/\b0+(?=[0-9A-F])/g, "");
}
