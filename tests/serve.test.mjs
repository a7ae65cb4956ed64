// The web server of ./run.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { createHandler, listen, parseRange } from "../web/serve.mjs";

const folder = mkdtempSync(join(tmpdir(), "matryoshka-serve-"));
const root = join(folder, "dist");
const script = fileURLToPath(new URL("../web/serve.mjs", import.meta.url));
let server, port;

before(async () => {
  mkdirSync(join(root, "xterm"), { recursive: true });
  for (const [name, text] of Object.entries({
    "index.html": "<p>page", "a.js": "1", "a.css": "a{}", "a.json": "{}", "a.wasm": "\0asm", "a.bin": "0123456789", "empty.bin": "",
    "xterm/xterm.js": "2", "../secret": "secret",
  })) writeFileSync(join(root, name), text);
  server = createServer(createHandler(root));
  port = await listen(server, 0, "127.0.0.1");
});
after(() => {
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

// Not fetch(): that would tidy the path up.
const get = (path, headers = {}, method = "GET") => new Promise((resolve, reject) => {
  request({ host: "127.0.0.1", port, path, headers, method }, (response) => {
    let body = "";
    response.on("data", (piece) => (body += piece)).on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
  }).on("error", reject).end();
});

test("every kind of file has its type", async () => {
  for (const [path, type] of Object.entries({
    "/": "text/html; charset=utf-8", "/a.js": "text/javascript; charset=utf-8", "/a.css": "text/css; charset=utf-8",
    "/a.json": "application/json", "/a.wasm": "application/wasm", "/a.bin": "application/octet-stream", "/xterm/xterm.js": "text/javascript; charset=utf-8",
  })) {
    const answer = await get(path);
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers["content-type"], type, path);
  }
});

test("the policy allows our scripts and WebAssembly and nothing from elsewhere", async () => {
  const policy = (await get("/")).headers["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self' 'wasm-unsafe-eval';/);
  assert.match(policy, /connect-src 'self'/);
});

test("nothing outside the folder is served", async () => {
  for (const path of ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/xterm/../../secret", "//etc/passwd", "/a.bin%00.html", "/xterm", "/nothing"])
    assert.equal((await get(path)).status, 404, path);
  assert.equal((await get("/%zz")).status, 400);
  assert.equal((await get("/", {}, "POST")).status, 405);
});

test("ranges", async () => {
  for (const [range, status, body] of [
    ["bytes=2-4", 206, "234"], ["bytes=7-", 206, "789"], ["bytes=-2", 206, "89"], ["bytes=8-100", 206, "89"],
    ["bytes=10-", 416], ["bytes=-0", 416], ["bytes=0-1,3-4", 200, "0123456789"], ["lines=1-2", 200, "0123456789"],
  ]) {
    const answer = await get("/a.bin", { Range: range });
    assert.equal(answer.status, status, range);
    if (body) assert.equal(answer.body, body, range);
  }
  assert.equal((await get("/a.bin", { Range: "bytes=2-4" })).headers["content-range"], "bytes 2-4/10");
  assert.equal(parseRange("bytes=-", 10), null);
});

test("HEAD, empty files and unchanged files", async () => {
  const head = await get("/a.bin", {}, "HEAD");
  assert.equal(head.headers["content-length"], "10");
  assert.equal(head.body, "");
  assert.deepEqual([(await get("/empty.bin")).status, (await get("/empty.bin")).body], [200, ""]);
  const { etag } = head.headers;
  assert.equal((await get("/a.bin", { "If-None-Match": etag })).status, 304);
});

function start(...args) {
  const child = spawn(process.execPath, [script, "--root", root, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "", err = "";
  child.stderr.on("data", (piece) => (err += piece));
  const exited = new Promise((resolve) => child.once("exit", (status) => resolve({ status, err })));
  const ready = new Promise((resolve) => child.stdout.on("data", (piece) => {
    out += piece;
    if (out.includes("Ctrl-C")) resolve(out);
  }));
  return { child, exited, ready };
}

test("a taken port means the next free one and a sentence; Ctrl-C ends it cleanly", async () => {
  const { child, exited, ready } = start("--port", String(port));
  const out = await ready;
  const got = Number(/Port \d+ is taken, so this is port (\d+)\./.exec(out)[1]);
  assert.ok(got > port);
  assert.match(out, new RegExp(`http://localhost:${got}/`));
  assert.equal(await (await fetch(`http://127.0.0.1:${got}/a.js`)).text(), "1");
  child.kill("SIGINT");
  assert.deepEqual(await exited, { status: 0, err: "" });
});

test("options that cannot be: one sentence", async () => {
  for (const args of [["--port", "eighty"], ["--port", "70000"], ["--prot", "1"], ["--host"]]) {
    const { status, err } = await start(...args).exited;
    assert.equal(status, 2, args.join(" "));
    assert.match(err, /^[^\n]+\.\n$/);
  }
  const { status, err } = await start("--host", "192.0.2.1").exited;
  assert.equal(status, 1);
  assert.match(err, /^[^\n]+does not have that address[^\n]+\.\n$/);
});
