// Who may include whom. Each layer sees the layers before it; devices see the bus and their base classes and nothing else.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

// In order: a file belongs to the first entry that its path begins with, and may include what the entry lists.
const layers = [
  ["devices/bus/", ["devices/bus/", "cpu/state/archive.h"]],
  ["cpu/float/", ["cpu/float/"]],
  ["cpu/state/", ["cpu/state/", "cpu/float/format.h"]],
  ["mmu/", ["mmu/", "cpu/state/", "devices/bus/"]],
  ["vmx-model/", ["vmx-model/", "mmu/", "cpu/state/", "devices/bus/"]],
  ["devices/machine/", ["devices/", "cpu/", "mmu/", "vmx-model/", "wasm-jit/"]],
  ["cpu/", ["cpu/", "mmu/", "vmx-model/", "devices/bus/"]],
  ["wasm-jit/", ["wasm-jit/", "cpu/", "mmu/", "devices/bus/"]],
  ["devices/", ["devices/bus/", "cpu/state/archive.h", "devices/\\w+\\.h"]],
  ["web/api/", ["web/api/", "devices/machine/", "wasm-jit/", "cpu/"]],
  ["cli/", ["cli/", "devices/machine/", "cpu/vectors/"]],
];
// What one device may know of another: its base class or the interface it is made for. The board knows them all.
const siblings = /^devices\/(pci|virtio_pci|virtio_queue|block_backend|file_tree|ninep_\w+|aml)\.h$/;

function* sources(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (/^(\.|build|node_modules|dist|tests|docs)/.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* sources(path);
    else if (/\.(cpp|h)$/.test(entry.name)) yield path;
  }
}

const includes = [...sources(root)].flatMap((path) => {
  const from = relative(root, path);
  return [...readFileSync(path, "utf8").matchAll(/^#include "([^"]+)"/gm)].map(([, to]) => ({ from, to }));
});

test("there are includes to look at", () => assert.ok(includes.length > 200));

for (const [folder, allowed] of layers)
  test(`${folder} includes only what lies below it`, () => {
    for (const { from, to } of includes) {
      if (layers.find(([prefix]) => from.startsWith(prefix))?.[0] !== folder) continue;
      assert.ok(allowed.some((pattern) => new RegExp(`^${pattern}`).test(to)), `${from} includes ${to}`);
      if (folder === "devices/" && to.startsWith("devices/") && !to.startsWith("devices/bus/")) {
        const own = from.replace(/\.(cpp|h)$/, ".h");
        assert.ok(to === own || siblings.test(to), `the device ${from} includes ${to}`);
      }
    }
  });
