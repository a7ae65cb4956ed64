// Guests of guests: the hypervisor for the bare machine, and the virtual machine monitor on the tools disk. Where the default
// processor model shows no VT-x, both say so in one sentence, and the rest is skipped.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const matryoshka = (...args) => {
  const result = spawnSync(`${root}matryoshka`, args, { encoding: "utf8", input: "", timeout: 600_000, maxBuffer: 1 << 26 });
  return { ...result, stdout: result.stdout.replaceAll("\r", "") };
};
const linux = (...args) => matryoshka("--native", "-m", "512M", "-kernel", `${root}build/guest/bzImage64`, "-initrd", `${root}build/guest/initrd64.lz4`,
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
});
