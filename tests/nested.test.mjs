// Guests of guests: the hypervisor for the bare machine, and the virtual machine monitor on the tools disk. Where the default
// processor model shows no VT-x, both say so in one sentence, and the rest is skipped.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { assemble } from "./baremetal/engines.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const withInput = (input, ...args) => {
  const result = spawnSync(`${root}matryoshka`, args, { encoding: "utf8", input, timeout: 600_000, maxBuffer: 1 << 26 });
  return { ...result, stdout: result.stdout.replaceAll("\r", "") };
};
const matryoshka = (...args) => withInput("", ...args);
const linux = (...args) => matryoshka(...(args.includes("--engine") ? [] : ["--native"]), "-m", "512M", "-kernel", `${root}build/guest/bzImage64`, "-initrd", `${root}build/guest/initrd64.lz4`,
  "-drive", `file=${root}build/guest/tools64.img,format=raw,if=virtio,readonly=on`, ...args);
const inLinux = (...commands) => linux("-append", `console=ttyS0 quiet cmd=${commands.map((line) => line.replaceAll(" ", ",")).join(";")}`).stdout;
const NO_VTX = "the default processor model shows no VT-x";

const exits = [
  [10, "CPUID"], [30, "I/O instruction"], [30, "I/O instruction"], [28, "access to a control register"], [28, "access to a control register"],
  [28, "access to a control register"], [0, "exception"], [48, "EPT violation"], [12, "HLT"], [18, "VMCALL"],
];
for (const [name, options] of [["-kernel", ["-kernel", `${root}build/guest/hypervisor.elf`]], ["-bios", ["-bios", `${root}build/guest/hypervisor.rom`]]])
  test(`hypervisor: each exit of its guest (${name})`, (t) => {
    const { stdout, status } = matryoshka("--native", ...options, "-device", "isa-debug-exit,iobase=0xf4");
    if (stdout.includes("has no VT-x")) {
      assert.equal(stdout, "This processor has no VT-x: CPUID.1:ECX bit 5 is 0.\n");
      assert.equal(status, 3);
      t.skip(NO_VTX);
      return;
    }
    const seen = [...stdout.matchAll(/^exit \d+ at \w+: reason (\d+), ([^,]+), qualification/gm)].map(([, reason, text]) => [Number(reason), text]);
    assert.deepEqual(seen, exits);
    assert.match(stdout, /the guest says 42, and in RAX has "Hello L2"/);
    assert.match(stdout, /VMX operation is over\.\n$/);
    assert.equal(status, 1);
  });

describe("vmm", () => {
  const probe = inLinux("vmm --help", "vmm --memory 1", "vmm --kernel /nothing", "vmm x", "vmm --real /etc/passwd");
  const without = probe.includes("shows neither VT-x nor SVM");

  test("explains itself, and what is wrong", () => {
    assert.match(probe, /^usage: vmm \[OPTION\]/m);
    assert.match(probe, /^vmm: --memory 1: give a number of megabytes from 2 to \d+\.$/m);
    assert.match(probe, /^vmm: 'x' is not an option; --help lists them\./m);
    if (without) assert.match(probe, /^vmm: this processor shows neither VT-x nor SVM, so it cannot host guests\./m);
    else assert.match(probe, /^vmm: cannot open \/nothing: No such file or directory\.$/m);
  });

  test("is compiled inside from the source that lies beside it", () => {
    const out = inLinux("tcc -w -D_GNU_SOURCE -o /tmp/vmm /opt/tools/examples/vmm/*.c -lpthread", "/tmp/vmm --memory 1");
    assert.match(out, /^CMD-EXIT 0$/m, out);
    assert.match(out, /^vmm: --memory 1: give a number of megabytes from 2 to \d+\.$/m, out);
  });

  test("flat programs of three modes, written inside", { skip: without && NO_VTX }, () => {
    const build = (name) => `nasm -f bin /opt/tools/examples/${name}.asm -o /tmp/${name}`;
    const out = inLinux(build("real"), "vmm --count --real /tmp/real", build("protected"), "vmm --protected /tmp/protected", build("long"), "vmm --long /tmp/long");
    assert.match(out, /^Hello from real mode\.$/m);
    assert.match(out, /^ +23 +I\/O port to 3f8$/m);  // a letter, an exit
    assert.match(out, /^Hello from protected mode on /m);
    assert.match(out, /^ticks for CPUID: \d+$/m);
    assert.match(out, /^ticks for OUT: +\d+$/m);
  });

  test("Linux in Linux in Linux, each by the same command", { skip: without && NO_VTX }, () => {
    const { stdout, status, stderr } = linux("-append", "console=ttyS0 quiet",
      "--type", "^~ # =>vmm\\n", "--type", "^L2 ~ # =>vmm\\n", "--type", "^L3 ~ # =>echo $((6 * 7)) layers; poweroff\\n",
      "--type", "^L2 ~ # =>poweroff\\n", "--type", "^~ # =>poweroff\\n");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^42 layers$/m);
    assert.equal(stdout.match(/^INIT-READY /gm).length, 3);
  });

  test("a guest's guest is ended from outside", { skip: without && NO_VTX }, () => {
    const { stdout, status, stderr } = linux("-append", "console=ttyS0 quiet",
      "--type", "^~ # =>vmm\\n", "--type", "^L2 ~ # =>\\x01x", "--type", "^~ # =>echo outside $((1 + 1)); poweroff\\n");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^outside 2$/m);
  });

  // No control is needed but those that KVM itself demands.
  for (const withheld of [
    "ept", "unrestricted-guest", "vpid", "flexpriority", "preemption-timer", "vnmi", "msr-bitmap", "eptad", "secondary-ctls",
  ])
    test(`L2 boots where vmx-${withheld} is missing`, { skip: without && NO_VTX }, () => {
      const { stdout, status, stderr } = linux("-cpu", `matryoshka,-vmx-${withheld}`, "-append", "console=ttyS0 quiet",
        "--type", "^~ # =>vmm\\n", "--type", "^L2 ~ # =>dmesg | grep -ci warn\\n", "--until", "^[0-9]+$", "--max-instructions", "3000M");
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^0$/m, "a warning in L2's log");
    });

  test("the JIT changes nothing that L2 can see", { skip: without && NO_VTX }, () => {
    const run = (...engine) =>
      linux(...engine, "-append", "console=ttyS0 quiet", "--type", "^~ # =>vmm\\n", "--until", "^L2 ~ # ", "--hash-every", "10M")
        .stderr.match(/^hash .*$/gm);
    const native = run();
    assert.ok(native.length > 30);
    assert.deepEqual(run("--engine", "jit"), native);
  });
});

describe("monitor", () => {
  const hypervisor = ["--native", "-kernel", `${root}build/guest/hypervisor.elf`, "-device", "isa-debug-exit,iobase=0xf4", "-monitor", "stdio"];
  const ask = (...commands) => withInput(`${commands.join("\n")}\nquit\n`, ...hypervisor);

  test("stops at exits and entries, and says why", () => {
    const { stdout, status } = ask("until exit HLT", "why", "until entry", "layers", "until exit", "regs L2");
    assert.equal(status, 0);
    assert.match(stdout, /cause: HLT exiting \(Primary processor-based VM-execution controls, bit 7\)/);
    assert.match(stdout, /was written last by the VMWRITE before rip 0x/);
    assert.match(stdout, /entry by VMRESUME\nL2 guest at 0x/);
    assert.match(stdout, /^\* {3}L2 guest {2}VMCS 0x\w+ \(launched, active, current\), 10 entries, 9 exits/m);
    assert.match(stdout, /reason 18: the guest executed VMCALL/);
    assert.match(stdout, /L2 guest, as its VMCS keeps it:/);
  });

  test("compares two exits, walks both tables, steps", () => {
    const { stdout } = ask("until exit CPUID", "until exit HLT", "exits", "vmcs diff 1 17", "vmcs diff 1 1", "vmcs guest", "walk 0x100000 L2", "step 2");
    assert.match(stdout, /^Guest RIP\n {2}0x100172\n {2}0x100198$/m);
    assert.match(stdout, /^Exit reason\n {2}0xa {2}CPUID\n {2}0xc {2}HLT$/m);
    assert.match(stdout, /Not a field differs\./);
    assert.match(stdout, /681e {2}Guest RIP +0x100198/);
    assert.match(stdout, /EPT PDE .* rwx/);
    assert.match(stdout, /linear 0x100000 is physical 0x100000/);
  });

  test("names every check that a failed entry did not pass", () => {
    const image = assemble("vmx_entry");
    const { stdout } = withInput("until fail\nwhy fail\nquit\n", "--native", "-bios", image, "-m", "64", "-monitor", "stdio", "-serial", "none");
    assert.match(stdout, /VM-instruction error 7: VM entry with invalid control field\(s\)/);
    assert.match(stdout, /^ {2}pin_reserved: reserved bits of the pin-based controls/m);
    assert.match(stdout, /Pin-based VM-execution controls = 0/);
  });

  test("answers what it does not know with a sentence", () => {
    const { stdout } = ask("frobnicate", "walk", "walk 0x1000 L7", "until exit frobnicate", "until exit vmfunc", "until", "vmcs other", "why 99999", "exits x", "step 0");
    for (const sentence of [
      'There is no command "frobnicate"; help lists them.', "walk takes a linear address", "Layers are called L1", "There is no exit reason of that name",
      "This processor never exits so: VMFUNC.",
      "until takes exit, entry or fail", "The groups are control, guest, host and info", "There is no event of that number", "exits takes a number",
      "step takes a number",
    ]) assert.ok(stdout.includes(sentence), sentence);
  });

  for (const engine of [["--native"], ["--engine", "jit"]])
    test(`--trace vmexit has every exit with its cause (${engine.at(-1)})`, () => {
      const place = mkdtempSync(join(tmpdir(), "matryoshka-exits-")), file = join(place, "exits"), stats = join(place, "stats");
      try {
        matryoshka(...engine, "-kernel", `${root}build/guest/hypervisor.elf`, "-device", "isa-debug-exit,iobase=0xf4", "--trace", `vmexit=${file}`, "--stats", stats);
        const events = readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line));
        const seen = events.filter(({ kind }) => kind === "exit");
        assert.deepEqual(seen.map(({ reason }) => reason), exits.map(([reason]) => reason));
        assert.ok(seen.every(({ cause, layer, vmcs }) => cause.length > 5 && layer === 2 && vmcs.startsWith("0x")));
        assert.equal(events.filter(({ kind }) => kind === "entry").length, seen.length);
        const { vmx } = JSON.parse(readFileSync(stats, "utf8"));
        assert.equal(vmx.exits.CPUID, 1);
        assert.equal(vmx.entries, seen.length);
      } finally {
        rmSync(place, { recursive: true, force: true });
      }
    });
});
