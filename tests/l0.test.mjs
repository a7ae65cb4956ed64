// The share `l0`: what a Linux reads of the guests that it runs, and its guest through `vmm --share`. The unit tests of the tree
// are in inspector_tree_test.cpp.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { createMachine } from "../web/machine.js";

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const core = process.env.MATRYOSHKA_CORE ?? path("build/wasm/matryoshka.wasm");
const folder = mkdtempSync(join(tmpdir(), "matryoshka-l0-"));
after(() => rmSync(folder, { recursive: true }));

// xor eax, eax; cpuid; out 80h, al; and then jmp $ at 100006h, where nothing but interrupts leads out.
const spin = "\\x31\\xc0\\x0f\\xa2\\xe6\\x80\\xeb\\xfe";
// A guest that stands still while its exits are read, so that all that is read belongs together.
const program = `
printf '${spin}' >/tmp/spin
vmm --long /tmp/spin </dev/null >/dev/null 2>&1 &
sleep 0.3
kill -STOP $!
cd /l0
for file in README layers exits exits-by-reason why why-fail regs vmcs/current/state vmcs/last-exit/state \\
    vmcs/current/guest-state/rip vmcs/last-exit/guest-state/rip vmcs/current/vm-exit-information/exit-reason \\
    vmcs/current/vm-execution-control/ept-pointer walk/100006 walk/0x40000000000 walk/L2/100006; do
  echo "[$file]"
  cat $file
done
echo "[ls]"
ls -1 vmcs vmcs/current vmcs/current/vm-exit-information
echo "[lengths]"
for file in README exits why walk/100006; do echo $(stat -c %s $file) $(cat $file | wc -c); done
echo "[refused]"
echo x >why
mkdir new
cat vmcs/0x999000/state walk/nothing
echo "[end]"
`;
const files = { "run.sh": program };
const cmdline = "console=ttyS0 quiet cmd=sh,/mnt/share/run.sh,2>&1";
for (const [name, contents] of Object.entries(files)) writeFileSync(join(folder, name), contents);

function sections(text) {
  const found = {};
  for (const [, name, contents] of text.replaceAll("\r", "").matchAll(/^\[([\w\/ -]+)\]\n([^]*?)(?=^\[)/gm)) found[name] = contents;
  return found;
}

const native = (...args) => {
  const result = spawnSync(path("matryoshka"), ["--native", "-m", "256M", "-kernel", path("build/guest/bzImage64"),
    "-initrd", path("build/guest/initrd64.lz4"), "-drive", `file=${path("build/guest/tools64.img")},format=raw,if=virtio,readonly=on`,
    "--share", folder, ...args], { encoding: "utf8", input: "", timeout: 600_000, maxBuffer: 1 << 26 });
  return { ...result, stdout: result.stdout.replaceAll("\r", "") };
};
const recording = `${folder}.recording`;  // not in the folder, which is shared
after(() => rmSync(recording, { force: true }));
const homework = native("--l0", "-append", cmdline, "--record", recording, "--until", "^\\[end\\]", "--max-instructions", "5000M");
const read = sections(homework.stdout);

test("a Linux reads what its guest did, and why", () => {
  assert.equal(homework.status, 0, homework.stderr + homework.stdout);
  assert.match(read.README, /^ {2}exits-by-reason +how many there were$/m);
  assert.match(read.layers, /^\* L1 host {2}VMX operation, VMXON region 0x\w+\n {4}L2 guest {2}VMCS 0x\w+ \(launched, active, current\), \d+ entries/m);
  assert.match(read.exits, /I\/O instruction: OUT of 1 byte at port 0x80/);
  assert.match(read["exits-by-reason"], /^ +1 {2}10 {2}CPUID$/m);
  assert.match(read.why, /^ {2}cause: External-interrupt exiting \(Pin-based VM-execution controls, bit 0\)$/m);
  assert.match(read["why-fail"], /^No VM entry has failed/);
  assert.equal(read["vmcs/current/guest-state/rip"], "0x100006\n");
  assert.equal(read["vmcs/last-exit/guest-state/rip"], "0x100006\n");
  assert.equal(read["vmcs/current/vm-exit-information/exit-reason"], "0x1  External interrupt\n");
  assert.match(read["walk/100006"], /^L2 guest:\n[^]*PDE[^]*EPT [^]*linear 0x100006 is physical 0x\w+\n$/);
  assert.equal(read["walk/L2/100006"], read["walk/100006"]);
  assert.match(read["walk/0x40000000000"], /linear 0x40000000000: #PF, for it is not mapped\n$/);
  const address = /VMCS (0x\w+)/.exec(read.layers)[1];
  assert.equal(read["vmcs/current/state"], `${address}  L2 guest, launched, active, current\n`);
  assert.match(read.ls, new RegExp(`^vmcs:\n${address}\ncurrent\nlast-exit\n`));
  assert.match(read.ls, /^vmcs\/current:\nguest-state\nhost-state\nstate\nvm-entry-control\nvm-execution-control\nvm-exit-control\nvm-exit-information\n/m);
  assert.match(read.ls, /^exit-qualification\nexit-reason\n/m);
});

test("a file is as long as it says", () => {
  const lengths = read.lengths.trim().split("\n").map((line) => line.split(" "));
  assert.equal(lengths.length, 4);
  for (const [stated, counted] of lengths) assert.ok(stated === counted && Number(counted) > 100, `${stated} and ${counted}`);
});

test("nothing can be written, and what there is not is not found", () => {
  const [write, make, vmcs, walk] = read.refused.trim().split("\n");
  assert.match(write, /Read-only file system/);
  assert.match(make, /Read-only file system/);
  assert.match(vmcs, /vmcs\/0x999000\/state': No such file or directory/);
  assert.match(walk, /walk\/nothing': No such file or directory/);
});

test("the same bytes as WebAssembly, and the monitor says the same", async () => {
  const machine = await createMachine({
    core, memory: "256M", clock: "virtual", l0: true, cmdline, share: files, until: "^\\[end\\]",
    kernel: path("build/guest/bzImage64"), initrd: path("build/guest/initrd64.lz4"),
    drives: [{ image: path("build/guest/tools64.img"), readonly: true }],
  });
  after(() => machine.destroy());
  let text = "";
  machine.on("output", ({ port, bytes }) => port === "serial" && (text += new TextDecoder().decode(bytes)));
  const paused = new Promise((resolve) => machine.on("state", ({ state }) => state === "paused" && resolve()));
  await machine.start();
  await paused;
  assert.deepEqual(sections(text), read);
  const said = async (command) => assert.equal(read[command.file], await machine.monitor(command.ask), command.ask);
  for (const command of [
    { file: "layers", ask: "layers" }, { file: "exits", ask: "exits 100" }, { file: "exits-by-reason", ask: "exits by-reason" },
    { file: "why", ask: "why" }, { file: "why-fail", ask: "why fail" }, { file: "regs", ask: "regs L2" },
    { file: "walk/100006", ask: "walk 0x100006 L2" }, { file: "vmcs/last-exit/state", ask: "exits 1" },
  ]) await said(command);
  const vmcs = await machine.monitor("vmcs");
  assert.match(vmcs, /^ {2}681e {2}Guest RIP +0x100006$/m);
  const eptp = / EPT pointer \(EPTP\) +(0x\w+)$/m.exec(vmcs)[1];
  assert.equal(read["vmcs/current/vm-execution-control/ept-pointer"], `${eptp}\n`);
});

test("a replay reads the same bytes", () => {
  const { stdout, status, stderr } = native("--l0", "-append", cmdline, "--until", "^\\[end\\]", "--replay", recording);
  assert.equal(status, 0, stderr);
  assert.deepEqual(sections(stdout), read);
});

test("a snapshot between two reads changes neither", () => {
  const halves = `${folder}.state`;
  after(() => rmSync(halves, { force: true }));
  const first = native("--l0", "-append", cmdline, "--until", "^\\[why-fail\\]", "--save-state", halves);
  assert.equal(first.status, 0, first.stderr);
  const { stdout, status, stderr } = spawnSync(path("matryoshka"), ["--native", "--load-state", halves, "--until", "^\\[end\\]",
    "-drive", `file=${path("build/guest/tools64.img")},format=raw,if=virtio,readonly=on`], { encoding: "utf8", input: "" });
  assert.equal(status, 0, stderr);
  assert.deepEqual(sections(first.stdout + stdout), read);
});

test("without the option there is no such device", () => {
  const { stdout } = native("-append", "console=ttyS0 quiet cmd=cat,/sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag;mount,-t,9p,l0,/mnt,2>&1;ls,-d,/l0,2>&1");
  assert.match(stdout, /^share\0CMD-EXIT 0$/m);
  assert.match(stdout, /^mount: mounting l0 on \/mnt failed: No such file or directory$/m);
  assert.match(stdout, /^ls: \/l0: No such file or directory$/m);
});

test("the homework of the page about VT-x does what it says", () => {
  const [, script] = /^```\n(#!\/bin\/sh\n[^]*?)^```$/m.exec(readFileSync(path("docs/vmx.md"), "utf8"));
  writeFileSync(join(folder, "homework.sh"), script);
  const { stdout } = native("--l0", "-append", "console=ttyS0 quiet cmd=sh,/mnt/share/homework.sh,2>&1");
  assert.match(stdout, /^1000 exits by CPUID\n {2}cause: HLT exiting \(Primary processor-based VM-execution controls, bit 7\)\nthe guest stood at 0x10\w+\nCMD-EXIT 0$/m);
});

test("the option stands alone, and not beside a saved machine", () => {
  const { stderr, status } = spawnSync(path("matryoshka"), ["--native", "--load-state", "/nothing", "--l0"], { encoding: "utf8" });
  assert.equal(status, 2);
  assert.match(stderr, /--load-state brings a machine of its own, so --l0 cannot be given beside it\./);
});

test("a guest is given the share by its monitor, and a folder to write to", () => {
  writeFileSync(join(folder, "outer.sh"), `
mkdir /tmp/box /tmp/box/deep
echo from L1 >/tmp/box/note
ln -s /etc/hostname /tmp/box/link
cp /mnt/share/inner.sh /tmp/box
vmm --share l0=/l0 --share box=/tmp/box,rw --append 'cmd=mkdir,/box;mount,-t,9p,box,/box;sh,/box/inner.sh,2>&1' </dev/null
echo "[after]"
ls -1 /tmp/box
cat /tmp/box/made /tmp/box/deep/moved
echo "[sentences]"
vmm --share nothing
vmm --share a=/nothing
vmm --long /bin/true --share a=/tmp
echo "[read-only]"
vmm --share box=/tmp/box --append 'cmd=mount,-t,9p,box,/mnt;touch,/mnt/more,2>&1;cat,/mnt/note' </dev/null
echo "[end]"
`);
  writeFileSync(join(folder, "inner.sh"), `
echo "[inner]"
cat /l0/layers
echo x >/l0/why
cd /box
cat note
echo of L2 >/etc/hostname
cat link
echo data >made
mkdir sub
echo more >sub/x
mv sub/x deep/moved
rmdir sub
head -c 300000 /dev/urandom >big
cp big /tmp
cmp big /tmp/big && wc -c <big
: >big
wc -c <big
rm big
cd deep
i=0
while [ $i -lt 700 ]; do : >a-file-with-a-long-name-$i; i=$((i + 1)); done
ls | wc -l
rm a-file*
ls
echo "[inner end]"
`);
  const { stdout, status, stderr } = native("--l0", "-append", "console=ttyS0 quiet cmd=sh,/mnt/share/outer.sh,2>&1", "--until", "^\\[end\\]", "--max-instructions", "8000M");
  assert.equal(status, 0, stderr + stdout);
  const found = sections(stdout);
  const [layers, rest] = found.inner.split(/(?<=exits, \d+ instructions\n)/);
  assert.match(layers, /^L0 this machine\n\* L1 host {2}VMX operation[^]* {4}L2 guest {2}VMCS 0x\w+ \(launched, active, current\)/);
  assert.deepEqual(rest.split("\n"), [
    "/box/inner.sh: line 4: can't create /l0/why: Read-only file system", "from L1", "of L2",
    "300000", "0", "701", "moved", "",
  ]);
  assert.equal(found.after, "deep\ninner.sh\nlink\nmade\nnote\ndata\nmore\n");
  assert.match(found.sentences, /^vmm: --share nothing: give a tag and a folder, such as l0=\/l0; and ,rw behind it if the guest may write\.$/m);
  assert.match(found.sentences, /^vmm: cannot share the folder \/nothing: No such file or directory\.$/m);
  assert.match(found.sentences, /^vmm: a flat program has no devices; leave --disk and --share away\.$/m);
  assert.match(found["read-only"], /^touch: \/mnt\/more: Read-only file system$/m);
  assert.match(found["read-only"], /^from L1$/m);
});

test("no message of a guest leads out of the folder, or further than its buffers", () => {
  const made = spawnSync("sh", ["-c", `set -e
    cd "$1" && mkdir open closed && for d in open closed; do
      echo 0123456789 >$d/file; mkdir $d/folder; ln -s /etc $d/link; mkfifo $d/pipe
    done
    gcc -g -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -fsanitize=address,undefined -fno-sanitize-recover -o share "$2"
    ASAN_OPTIONS=detect_leaks=0 ./share box=closed box=open,rw
    ls /etc/passwd open closed`, "sh", folder, path("tests/vmm_share.c")], { encoding: "utf8", timeout: 120_000 });
  assert.equal(made.status, 0, made.stderr + made.stdout);
  assert.match(made.stdout, /^[0-9]{5} answered\n/);
  assert.match(made.stdout, /closed:\nfile\nfolder\nlink\npipe\n/);
});
