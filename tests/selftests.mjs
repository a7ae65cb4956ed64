// Linux's own tests of its x86 code (tools/testing/selftests/x86): 44 programs, of which 23 are 32-bit ones that run on a 32-bit
// kernel too. They hold the processor to what the kernel relies on where the two meet: signal frames, LDTs, single steps through
// system calls, bases of FS and GS, virtual-8086 mode.
//
//   node tests/selftests.mjs [--host] > docs/selftests.md
//
// makes the page: runs them in this machine, in QEMU if it is installed and, with --host, on the processor of this computer.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const image = `${root}build/guest/selftests.img`;

// What cannot pass here, and why.
export const cannot = {
  amx_64: "wants AMX, which Intel has since Sapphire Rapids and no model here",
};

// Why others fail.
const reasons = {
  "QEMU": {
    amx_64: "no AMX",
    sigreturn_32: "IRET to an outer level leaves the RPL in null selectors",
    test_syscall_vdso_32: "a far return reads the stack as the system does, and SMAP forbids it",
    sysret_ss_attrs_64: "a far return again, as in test_syscall_vdso_32",
    mov_ss_trap_64: "a data breakpoint on MOV SS is not held back: it traps before the SYSCALL, on a stack that cannot take the signal",
  },
  "hardware": {
    amx_64: "no AMX",
    mov_ss_trap_32: "ICEBP behind MOV SS is taken again and again, under this hypervisor",
    mov_ss_trap_64: "the same",
  },
};

function guest(bits, commands) {
  return {
    "-m": "256M",
    "-kernel": `${root}build/guest/bzImage${bits}`,
    "-initrd": `${root}build/guest/initrd${bits}.lz4`,
    "-drive": `file=${image},format=raw,if=virtio,readonly=on`,
    "-append": `console=ttyS0 quiet cmd=${commands.join(";")}`,
  };
}

// { status: name -> exit status, said: name -> its lines, log: the kernel's messages }
function parse(output) {
  const status = {}, said = {}, log = [];
  let lines = [];
  for (const line of output.replaceAll("\r", "").split("\n")) {
    const end = /^SELFTEST (\w+) (\d+)$/.exec(line);
    if (end) {
      status[end[1]] = Number(end[2]);
      said[end[1]] = lines;
      lines = [];
    } else if (/^<\d>/.test(line)) {
      log.push(line);
    } else {
      lines.push(line);
    }
  }
  return { status, said, log };
}

export function inMachine(bits, ...names) {
  const options = guest(bits, [["/opt/tools/run", ...names].join(","), "dmesg,-r"]);
  const result = spawnSync(`${root}matryoshka`, ["--native", "--clock", "virtual", "--max-instructions", "40G", ...Object.entries(options).flat()],
    { encoding: "utf8", input: "", timeout: 600_000, maxBuffer: 1 << 26 });
  return { ...parse(result.stdout), ended: result.status, complaint: result.stderr };
}

function inQemu(bits) {
  const options = guest(bits, ["/opt/tools/run"]);
  const result = spawnSync("qemu-system-x86_64", ["-accel", "tcg", "-cpu", "max", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", ...Object.entries(options).flat()],
    { encoding: "utf8", input: "", timeout: 600_000, maxBuffer: 1 << 26 });
  return result.error ? null : parse(result.stdout);
}

function onHost(names) {
  const folder = mkdtempSync(join(tmpdir(), "matryoshka-selftests-"));
  try {
    const unpacked = spawnSync("unsquashfs", ["-q", "-n", "-f", "-d", folder, image], { encoding: "utf8" });
    if (unpacked.status !== 0) throw new Error(`unsquashfs: ${unpacked.stderr}`);
    const status = {};
    for (const name of names) {
      const { status: code, signal } = spawnSync(`./${name}`, { cwd: join(folder, "bin"), stdio: "ignore", timeout: 10_000 });
      status[name] = signal === "SIGTERM" ? 143 : code ?? 128;
    }
    return { status };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// ---- The page

const verdict = (status) =>
  status === undefined ? "-" : status === 0 ? "pass" : status === 143 ? "hangs" : status === 137 ? "kernel oops" : status > 128 ? `signal ${status - 128}` : "fails";

// One row of the table; the first two figures are this machine's.
export function row(name, columns) {
  return `| ${[name, ...columns.map((column) => verdict(column?.status[name]))].join(" | ")} |`;
}

// What a test itself says that it left out.
const leftOut = (run, name) => (run.said[name] ?? []).filter((line) => /\[SKIP\]|not supported|won't test|[Cc]annot set affinity/.test(line));

function count(column) {
  const all = Object.values(column.status);
  return `${all.filter((status) => status === 0).length} of ${all.length}`;
}

function page(host) {
  const ours = [inMachine(64), inMachine(32)], qemu = [inQemu(64), inQemu(32)];
  const names = Object.keys(ours[0].status).sort();
  const columns = [...ours, ...qemu, ...(host ? [onHost(names)] : [])];
  const heads = ["ours, 64-bit kernel", "ours, 32-bit", "QEMU TCG, 64-bit", "QEMU TCG, 32-bit", ...(host ? ["hardware"] : [])];
  const shown = heads.map((head, i) => ({ head, column: columns[i] })).filter(({ column }) => column);
  const lines = [
    "# Linux's selftests/x86",
    "",
    "`tools/testing/selftests/x86` of Linux 6.1, built by [guest/selftests](../guest/selftests/recipe) from Debian's package and run on our kernels.",
    `Made by \`node tests/selftests.mjs${host ? " --host" : ""} > docs/selftests.md\`; [selftests.test.mjs](../tests/selftests.test.mjs) holds our columns.`,
    "",
  ];
  if (qemu[0]) lines.push(`QEMU is ${/version ([\d.]+)/.exec(spawnSync("qemu-system-x86_64", ["--version"], { encoding: "utf8" }).stdout)[1]} with \`-cpu max\`, the same kernels and image.`);
  if (host) lines.push(`Hardware is ${cpus()[0].model.trim()} under Linux ${release().split("-")[0]}, itself in a virtual machine.`);
  lines.push(
    "",
    `| | ${shown.map(({ head }) => head).join(" | ")} |`,
    `|---|${shown.map(() => "---|").join("")}`,
    `| **passed** | ${shown.map(({ column }) => count(column)).join(" | ")} |`,
    ...names.map((name) => row(name, shown.map(({ column }) => column))),
    "",
    "## What fails, and why",
    "",
    "| test | where | why |",
    "|---|---|---|",
  );
  const failures = (column) => Object.keys(column?.status ?? {}).filter((name) => column.status[name] !== 0);
  for (const name of failures(ours[0])) lines.push(`| ${name} | ours | ${cannot[name] ?? "**not known**"} |`);
  for (const name of failures(qemu[0])) lines.push(`| ${name} | QEMU | ${reasons.QEMU[name] ?? "not looked into"} |`);
  if (host) for (const name of failures(columns[4])) lines.push(`| ${name} | hardware | ${reasons.hardware[name] ?? "not looked into"} |`);
  lines.push("", "## What a test leaves out in our machine", "", "In its own words. There is one processor, and SYSCALL from 32-bit code is #UD as on Intel's.", "", "| test | kernel | |", "|---|---|---|");
  for (const [i, bits] of [64, 32].entries())
    for (const name of names)
      for (const line of new Set(leftOut(ours[i], name).map((text) => text.replace(/^\[\w+\]\s*/, "").trim()))) lines.push(`| ${name} | ${bits} | ${line} |`);
  return lines.join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(page(process.argv.includes("--host")));
