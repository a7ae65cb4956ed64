// This machine in Debian's headless Chromium, by the object that web/machine.js gives everybody. Two ways: alone in an empty page,
// and in the page as people meet it, with its terminal, where the main thread's pauses are watched. Times count from start(), when
// all files are there.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";

import { launch, serve } from "../e2e/browser.mjs";
import { CONTENT_SECURITY_POLICY } from "../web/serve.mjs";
import { Lines } from "./machines.mjs";

const FILES = "/bench-files/", EMPTY = "/bench-empty.html", MANIFEST = "/machine.json";

// Runs in the page before its own scripts. A pause is a task that took long, or the time by which a timer of 10 ms came late.
function watch() {
  const pauses = (window.pauses = { longest: 0 });
  const note = (milliseconds) => (pauses.longest = Math.max(pauses.longest, milliseconds));
  let machine, last = 0;
  window.follow = (made) => {
    let began = 0;
    made.on("output", ({ port, bytes }) => {
      if (port === "serial") window.report(String.fromCharCode(...bytes), performance.now() - began);
    });
    pauses.longest = 0;
    began = last = performance.now();
    setInterval(() => {
      const now = performance.now();
      note(now - last - 10);
      last = now;
    }, 10);
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) if (startTime >= began) note(duration);
    }).observe({ type: "longtask" });
  };
  // ?test=1 has the page put its machine here, just before it starts it.
  Object.defineProperty(window, "machine", {
    get: () => machine,
    set(made) {
      machine = made;
      if (made) window.follow(made);
    },
  });
}

export async function openChromium() {
  const files = new Map();  // by the name under which the page finds them
  let manifest = null;
  const server = await serve({
    async before(request, response) {
      const { pathname } = new URL(request.url, "http://localhost");
      const send = (type, body) => {
        response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": CONTENT_SECURITY_POLICY });
        response.end(body);
        return true;
      };
      if (pathname === EMPTY) return send("text/html", "<!doctype html><title>bench</title>");
      if (pathname === MANIFEST && manifest) return send("application/json", JSON.stringify(manifest));
      if (pathname.startsWith(FILES)) return send("application/octet-stream", await readFile(files.get(basename(pathname))));
      return false;
    },
  });
  const browser = await launch();
  const place = (path) => {
    files.set(basename(path), path);
    return { url: `${server.url.replace(/\/$/, "")}${FILES}${basename(path)}`, name: basename(path) };
  };

  async function run(address, options, begin) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 760 } });
    const page = await context.newPage();
    let complaint = "";
    const lines = new Lines(options, (text) => page.evaluate((typed) => window.machine.serial(0).write(typed), text));
    page.on("pageerror", (error) => ((complaint = String(error)), lines.finish(false)));
    await page.exposeFunction("report", (text, ms) => lines.push(text, ms));
    await page.addInitScript(watch);
    const timer = setTimeout(() => {
      complaint ||= `It took longer than ${options.seconds} s.`;
      lines.finish(false);
    }, options.seconds * 1000);
    await page.goto(address);
    await begin?.(page);
    const ok = await lines.done;
    clearTimeout(timer);
    const { longest } = await page.evaluate(() => window.pauses);
    const stats = await page.evaluate(() => window.machine.stats());
    await context.close();
    return { ok, lines: lines.lines, matches: lines.matches, complaint, pause: longest, stats };
  }

  return {
    version: browser.version(),
    // Alone in an empty page.
    bare: (guest, options) =>
      run(`${server.url.replace(/\/$/, "")}${EMPTY}`, options, (page) =>
        page.evaluate(async (machineOptions) => {
          const { createMachine } = await import("/machine.js");
          window.machine = await createMachine(machineOptions);
          await window.machine.start();
        }, {
          memory: `${guest.memory}M`, kernel: place(guest.kernel), initrd: place(guest.initrd), cmdline: guest.cmdline,
          ...(guest.bits === 32 ? { cpu: "qemu32" } : {}),
        })),
    // In the page itself, with this guest in place of the small Linux; without a guest, as it is.
    page: (guest, options) => {
      manifest = guest && {
        core: { url: "matryoshka.wasm" }, kernel: place(guest.kernel), initrd: place(guest.initrd), drives: (guest.drives ?? []).map(place),
        memory: `${guest.memory}M`, cmdline: guest.cmdline,
      };
      return run(`${server.url}?test=1`, options);
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}
