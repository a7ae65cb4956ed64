// The kernel of Debian's cloud images, as Debian ships it, is host of our Linux: what KVM finds here is enough for a kernel that
// nobody configured for this machine. `guest/build kernel-cloud initrd-cloud` makes the images.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const guest = `${root}build/guest`;

// At level "warning" or worse. Any board with an i440FX gets this one: such a board has no memory-mapped configuration space.
const expected = /^<4>.* acpi PNP0A03:00: fail to add MMCONFIG information, /;
const warnings = "dmesg -r | grep '^<[0-4]>'";
const parameters = ["ept", "eptad", "flexpriority", "nested", "preemption_timer", "unrestricted_guest", "vnmi", "vpid"];

describe("Debian's cloud kernel", () => {
  for (const engine of [["--native"], ["--engine", "jit"]])
    test(`runs our Linux by its own kvm-intel (${engine.at(-1)})`, () => {
      const { stdout, status, stderr } = spawnSync(`${root}matryoshka`, [
        ...engine, "-m", "512M", "-kernel", `${guest}/bzImage-cloud`, "-initrd", `${guest}/initrd-cloud.lz4`, "-append", "console=ttyS0 quiet",
        "-drive", `file=${guest}/tools64.img,format=raw,if=virtio,readonly=on`, "--max-instructions", "6000M",
        "--type", `^~ # =>cd /sys/module/kvm_intel/parameters; grep Y ${parameters.join(" ")}; vmm\\n`,
        "--type", `^L2 ~ # =>${warnings}; echo $((6 * 7)) layers; poweroff\\n`,
        "--type", `parameters # $=>${warnings}; poweroff\\n`,
      ], { encoding: "utf8", timeout: 600_000 });
      assert.equal(status, 0, stderr);
      const lines = stdout.replaceAll("\r", "").split("\n");
      assert.deepEqual(lines.filter((line) => /^\w+:Y$/.test(line)), parameters.map((name) => `${name}:Y`));
      assert.equal(lines.filter((line) => /^INIT-READY .*-cloud-amd64 x86_64$/.test(line)).length, 1);
      assert.equal(lines.filter((line) => line.startsWith("INIT-READY ")).length, 2);
      assert.ok(lines.includes("42 layers"));
      const said = lines.filter((line) => /^<[0-4]>/.test(line));
      assert.deepEqual(said.filter((line) => !expected.test(line)), []);
      assert.equal(said.length, 1, "the expected message shows that the log was read");
    });
});
