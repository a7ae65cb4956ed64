// A web server for web/dist/, with the headers that the page is meant to be served with.
//
//   node web/serve.mjs [--port 8086] [--host 127.0.0.1] [--root DIR]
//
// A port that is taken means the next free one, and a sentence that says so. Ctrl-C ends it.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const TYPES = {
  ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
  ".json": "application/json", ".wasm": "application/wasm", ".bin": "application/octet-stream",
};

// 'unsafe-inline' for styles is xterm.js's need: it makes <style> elements for its colours and cell sizes.
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src data:; " +
  "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'";

// "bytes=10-19", "bytes=10-", "bytes=-10"; null for what is to be ignored, false for what cannot be met.
export function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return null;
  const first = match[1] === "" ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const last = match[1] === "" || match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  return first <= last && first < size ? { first, last } : false;
}

// `headers(path)` may change what is sent, for tests of wrong servers.
export function createHandler(root, { headers = () => ({}) } = {}) {
  return async (request, response) => {
    const plain = (status, sentence, more = {}) => {
      response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", ...more });
      response.end(request.method === "HEAD" ? undefined : `${sentence}\n`);
    };
    if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "Only GET and HEAD.", { Allow: "GET, HEAD" });
    let path;
    try {
      path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    } catch {
      return plain(400, "This address cannot be read.");
    }
    if (path.endsWith("/")) path += "index.html";
    const file = normalize(join(root, path));
    if (path.includes("\0") || !file.startsWith(root + sep)) return plain(404, "Nothing is here.");
    let facts;
    try {
      facts = await stat(file);
    } catch {
      return plain(404, "Nothing is here.");
    }
    if (!facts.isFile()) return plain(404, "Nothing is here.");

    const etag = `"${facts.size.toString(16)}-${facts.mtimeMs.toString(16)}"`;
    const common = {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Content-Security-Policy": CONTENT_SECURITY_POLICY,
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-cache",
      "Accept-Ranges": "bytes",
      ETag: etag,
      ...headers(path),
    };
    if (request.headers["if-none-match"] === etag) {
      response.writeHead(304, common);
      return response.end();
    }
    const range = parseRange(request.headers.range, facts.size);
    if (range === false) return plain(416, "The file is shorter than that.", { "Content-Range": `bytes */${facts.size}` });
    const { first, last } = range ?? { first: 0, last: facts.size - 1 };
    response.writeHead(range ? 206 : 200, {
      ...common, "Content-Length": last - first + 1,
      ...(range ? { "Content-Range": `bytes ${first}-${last}/${facts.size}` } : {}),
    });
    if (request.method === "HEAD" || last < first) return response.end();
    createReadStream(file, { start: first, end: last }).on("error", () => response.destroy()).pipe(response);
  };
}

// Listens on `port`, or on the next free one above it.
export function listen(server, port, host) {
  return new Promise((resolve, reject) => {
    const attempt = (candidate) => {
      const failed = (error) => {
        if (error.code === "EADDRINUSE" && candidate !== 0 && candidate < Math.min(port + 100, 65535)) return attempt(candidate + 1);
        reject(error);
      };
      server.once("error", failed);
      server.listen(candidate, host, () => {
        server.off("error", failed);
        resolve(server.address().port);
      });
    };
    attempt(port);
  });
}

async function main() {
  const fail = (sentence, status = 2) => {
    console.error(sentence);
    process.exit(status);
  };
  let values;
  try {
    ({ values } = parseArgs({
      options: { port: { type: "string", default: "8086" }, host: { type: "string", default: "127.0.0.1" }, root: { type: "string" } },
    }));
  } catch (error) {
    fail(`${error.message.split("\n")[0]}; the options are --port N and --host H.`);
  }
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port > 65535) fail(`--port takes a number up to 65535, not '${values.port}'.`);
  const root = normalize(values.root ?? fileURLToPath(new URL("dist", import.meta.url))).replace(/\/$/, "");
  const server = createServer(createHandler(root));
  let got;
  try {
    got = await listen(server, port, values.host);
  } catch (error) {
    const cause = { EADDRINUSE: "it and the next hundred are taken", EACCES: "it is reserved for root", EADDRNOTAVAIL: "this machine does not have that address",
      ENOTFOUND: "that host is not known" }[error.code] ?? error.message;
    fail(`The server cannot listen on port ${port} of ${values.host}: ${cause}; choose others with --port N and --host H.`, 1);
  }
  if (port !== 0 && got !== port) console.log(`Port ${port} is taken, so this is port ${got}.`);
  const host = values.host.includes(":") ? `[${values.host}]` : values.host === "127.0.0.1" ? "localhost" : values.host;
  console.log(`Matryoshka is at http://${host}:${got}/ (Ctrl-C ends it)`);
  const end = () => {
    server.close(() => process.exit(0));
    server.closeAllConnections();
  };
  process.on("SIGINT", end);
  process.on("SIGTERM", end);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
