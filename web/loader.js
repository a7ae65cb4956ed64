// Brings the core, matryoshka.wasm, to life in a page's worker, in Node or in a test. There is no generated glue: the core
// is a standalone module, and what it imports stands below in full.

import { MachineError } from "./errors.js";

const PAGE = 65536;
const MEBI = 1 << 20;
// What the core needs beside the guest's memory and its files: code caches, TLBs, devices, stacks.
const OWN_MEMORY = 48 * MEBI;
const MOST_MEMORY = 4096 * MEBI - PAGE;

export const megabytes = (bytes) => `${Math.ceil(bytes / MEBI)} MB`;

// `source` is a Response (or a promise of one) or the bytes. Compiles while the bytes arrive where the server names the
// right MIME type, and after they have arrived where it does not.
export async function compileCore(source) {
  if (typeof WebAssembly !== "object") {
    throw new MachineError("E_NO_WASM", "This browser cannot run WebAssembly; use a current Firefox, Chrome, Edge or Safari");
  }
  try {
    const response = await source;
    if (!(typeof Response === "function" && response instanceof Response)) return await WebAssembly.compile(response);
    const type = response.headers.get("Content-Type")?.split(";")[0].trim();
    if (type === "application/wasm" && WebAssembly.compileStreaming) return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    if (error instanceof MachineError) throw error;
    if (isForbidden(error)) {
      throw new MachineError("E_CSP_WASM",
        "This site's Content-Security-Policy forbids WebAssembly; its script-src needs 'wasm-unsafe-eval'");
    }
    if (error instanceof WebAssembly.CompileError) {
      throw new MachineError("E_DAMAGED", `The core matryoshka.wasm is damaged (${error.message}); reload the page or build it again`);
    }
    throw new MachineError("E_DOWNLOAD", `The core matryoshka.wasm did not arrive (${error.message}); look at the connection and try again`);
  }
}

// An instance has room for `guestBytes` of guest memory and files from the start, so that a browser which will not give as
// much says so here and not in the middle of a run. `output(port, byte)` is called for every byte the guest writes.
export function instantiateCore(module, { guestBytes = 0, growth = 0, output = () => {} } = {}) {
  const pages = (bytes) => Math.ceil(Math.min(bytes, MOST_MEMORY) / PAGE);
  let memory;
  try {
    memory = new WebAssembly.Memory({
      initial: pages(guestBytes + OWN_MEMORY),
      maximum: pages(guestBytes + OWN_MEMORY + growth + 64 * MEBI),
    });
  } catch {
    throw outOfMemory(guestBytes + OWN_MEMORY);
  }
  let table;
  const compiling = { state: "well" };
  const instance = new WebAssembly.Instance(module, {
    host: { output, ...regionCompiler(memory, () => table, compiling) },
    env: { memory, emscripten_notify_memory_growth() {} },
    wasi_snapshot_preview1: wasi(memory),
  });
  table = instance.exports.__indirect_function_table;
  instance.exports._initialize?.();
  return { exports: instance.exports, memory, compiling };
}

// What the JIT asks for. Its modules are compiled here and now: this is the worker's thread, and V8 puts the work off until a
// function is first called. Where that fails the core goes on interpreting. `compiling` tells why: "forbidden" by the site's policy,
// "failed" otherwise, which is a fault of ours or a lack of memory and stands on the console.
export function regionCompiler(memory, table, compiling) {
  return {
    compile(at, size) {
      try {
        const bytes = new Uint8Array(memory.buffer, at >>> 0, size >>> 0).slice();
        new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { m: memory, t: table() } });
        return 1;
      } catch (error) {
        if (isForbidden(error)) {
          compiling.state = "forbidden";
        } else if (compiling.state !== "failed") {
          compiling.state = "failed";
          console.error(`The JIT's code was not taken, and the interpreter goes on: ${error.message}`);
        }
        return 0;
      }
    },
    reserve(slots) {
      try {
        return table().grow(slots);
      } catch {
        return 0;
      }
    },
    tail_calls: () => (tailCalls ? 1 : 0),
  };
}

// Whether a Content-Security-Policy is what stands in the way of compiling.
function isForbidden(error) {
  return (error instanceof WebAssembly.CompileError || error instanceof EvalError) &&
    /Content Security Policy|CSP|unsafe-eval|disallowed by embedder/i.test(error.message);
}

// A module of one function that ends with a tail call to itself.
const tailCalls = globalThis.WebAssembly?.validate(
  new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 6, 1, 4, 0, 18, 0, 11]));

export function outOfMemory(bytes) {
  return new MachineError("E_MEMORY",
    `The browser did not give the ${megabytes(bytes)} of memory that this machine needs; choose a machine with less memory or close other tabs`,
    { bytes });
}

// Calls an export. A trap or a failed allocation inside becomes a sentence; the instance is of no use after that.
export function guarded(memory, call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof MachineError) throw error;
    if (isFull(memory)) throw outOfMemory(memory.buffer.byteLength + PAGE);
    throw new MachineError("E_CORE", `The emulator itself failed (${error.message}), which is a fault of ours; restart the machine`);
  }
}

function isFull(memory) {
  try {
    memory.grow(256);
    return false;
  } catch {
    return true;
  }
}

// The little of WASI that the C library asks for.
function wasi(memory) {
  const ok = 0, bad_descriptor = 8;
  const view = () => new DataView(memory.buffer);
  return {
    proc_exit(status) {
      throw new Error(`the core ended with status ${status}`);
    },
    fd_write(descriptor, vectors, count, written) {
      const data = view();
      let text = "", total = 0;
      for (let i = 0; i < count; i++) {
        const at = data.getUint32((vectors >>> 0) + 8 * i, true), size = data.getUint32((vectors >>> 0) + 8 * i + 4, true);
        text += new TextDecoder().decode(new Uint8Array(memory.buffer, at, size).slice());
        total += size;
      }
      if (text.trim() !== "") console.error(text);
      data.setUint32(written >>> 0, total, true);
      return ok;
    },
    fd_close: () => bad_descriptor,
    fd_read: () => bad_descriptor,
    fd_seek: () => bad_descriptor,
    environ_sizes_get(count, size) {
      view().setUint32(count >>> 0, 0, true);
      view().setUint32(size >>> 0, 0, true);
      return ok;
    },
    environ_get: () => ok,
    clock_time_get(_clock, _precision, result) {
      view().setBigUint64(result >>> 0, BigInt(Date.now()) * 1_000_000n, true);
      return ok;
    },
  };
}
