// Puts the page together: web/dist/ can be laid on any web server as it is. It holds .html, .css, .js, .json, .wasm and
// .bin files and nothing else, because those have the right MIME type everywhere.
//
//   node web/build.mjs [--core FILE] [--guest DIR] [--out DIR]

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const web = fileURLToPath(new URL(".", import.meta.url));
const root = join(web, "..");
const { values } = parseArgs({
  options: {
    core: { type: "string", default: join(root, "build/wasm/matryoshka.wasm") },
    guest: { type: "string", default: join(root, "build/guest") },
    out: { type: "string", default: join(web, "dist") },
  },
});

const SCRIPTS = ["core.js", "errors.js", "files.js", "gzip.js", "inspector.js", "loader.js", "machine.js", "page.js", "script.js", "service.js", "strings.js", "terminal.js", "worker.js"];
const XTERM = {
  "xterm.js": "xterm/lib/xterm.mjs", "addon-fit.js": "addon-fit/lib/addon-fit.mjs",
  "addon-unicode11.js": "addon-unicode11/lib/addon-unicode11.mjs", "xterm.css": "xterm/css/xterm.css",
};

function fail(sentence) {
  console.error(`web/build.mjs: ${sentence}`);
  process.exit(1);
}

function read(path, cure) {
  if (!existsSync(path)) fail(`${path} is missing; ${cure}.`);
  return readFileSync(path);
}

const modules = join(root, "node_modules/@xterm");
if (!existsSync(modules)) fail("xterm.js is missing; ./run --build installs it.");

// Built beside, then swapped in, so that a page that is being served is never half there.
const fresh = `${values.out}.new`;
rmSync(fresh, { recursive: true, force: true });
mkdirSync(join(fresh, "xterm"), { recursive: true });

for (const name of ["index.html", "style.css", ...SCRIPTS]) cpSync(join(web, name), join(fresh, name));
for (const [name, from] of Object.entries(XTERM)) {
  const text = readFileSync(join(modules, from), "utf8").replace(/\n?\/\/# sourceMappingURL=.*\s*$/, "\n");
  writeFileSync(join(fresh, "xterm", name), text);
}

// What the page downloads, with exact sizes for the progress bar and hashes against a half-updated server.
function place(name, bytes, from) {
  writeFileSync(join(fresh, name), bytes);
  return { url: name, name: from, size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}
const core = read(values.core, "./run --build builds it");
const kernel = read(join(values.guest, "bzImage64"), "./run --build builds it");
const initrd = read(join(values.guest, "initrd64.lz4"), "./run --build builds it");
const tools = join(values.guest, "tools64.img");
const versions = join(values.guest, "versions.json");

const manifest = {
  core: place("matryoshka.wasm", core, "matryoshka.wasm"),
  kernel: place("kernel.bin", kernel, "bzImage64"),
  initrd: place("initrd.bin", initrd, "initrd64.lz4"),
  drives: existsSync(tools) ? [place("tools.bin", readFileSync(tools), basename(tools))] : [],
  memory: "128M",
  cmdline: "console=ttyS0 quiet",
};
writeFileSync(join(fresh, "machine.json"), `${JSON.stringify(manifest, null, 2)}\n`);
if (existsSync(versions)) cpSync(versions, join(fresh, "versions.json"));

rmSync(values.out, { recursive: true, force: true });
renameSync(fresh, values.out);
const total = [manifest.core, manifest.kernel, manifest.initrd, ...manifest.drives].reduce((sum, file) => sum + file.size, 0);
console.log(`The page is in ${values.out}; a visitor downloads ${(total / 1e6).toFixed(1)} MB.`);
