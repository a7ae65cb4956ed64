// Set-up as somebody who is not root: with everything there it asks for nothing; with something missing it prints one line
// for root and changes nothing.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const nobody = 65534;

// A tree with the commands and the lists, and nothing built.
const tree = mkdtempSync(join(tmpdir(), "matryoshka-setup-"));
chmodSync(tree, 0o777);
after(() => rmSync(tree, { recursive: true, force: true }));
mkdirSync(join(tree, "guest"));
for (const name of ["run", "test", "matryoshka", "setup", "guest/packages.txt"]) cpSync(join(root, name), join(tree, name), { recursive: true });
execFileSync("chmod", ["-R", "a+rX", tree]);

const asNobody = (command, ...args) => spawnSync(command, args, {
  encoding: "utf8", cwd: tree, env: { PATH: process.env.PATH, HOME: "/nonexistent" }, ...(process.getuid() === 0 ? { uid: nobody, gid: nobody } : {}),
});
const listing = () => execFileSync("find", [tree, "-printf", "%P %s %T@\n"], { encoding: "utf8" });

test("with everything installed another user is asked for nothing", () => {
  const check = `root=${tree}; . setup/lib.sh; need_packages setup/packages-run.txt setup/packages-test.txt guest/packages.txt; echo fine`;
  const result = asNobody("bash", "-c", check);
  assert.deepEqual([result.stdout, result.stderr, result.status], ["fine\n", "", 0]);
});

test("with packages missing each command prints one line for root and changes nothing", () => {
  const list = join(tree, "setup/packages-run.txt");
  writeFileSync(list, `${readFileSync(list, "utf8")}not-a-package-one\nnot-a-package-two  # for the test\n`);
  const before = listing();
  for (const command of [["./run"], ["./run", "--build"], ["./test"], ["./matryoshka", "-kernel", "K"], ["./matryoshka", "--native", "-kernel", "K"]]) {
    const result = asNobody(...command);
    assert.equal(result.status, 1, command.join(" "));
    const lines = `${result.stdout}${result.stderr}`.split("\n").filter((line) => line.startsWith("apt-get"));
    assert.deepEqual(lines, ["apt-get install -y --no-install-recommends not-a-package-one not-a-package-two"], command.join(" "));
  }
  assert.equal(listing(), before);
});

test("options that cannot be: status 2 and one sentence", () => {
  for (const command of [["./run", "--frobnicate"], ["./run", "--port"], ["./test", "everything"]]) {
    const result = asNobody(...command);
    assert.equal(result.status, 2, command.join(" "));
    assert.match(result.stderr, /^\w+: [^\n]+\.\n$/);
  }
});
