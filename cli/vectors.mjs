// `matryoshka vectors` as WebAssembly in Node; cli/vectors.cpp is its native sibling. docs/vectors.md describes the format.
import { writeSync } from "node:fs";

import { guarded, instantiateCore } from "../web/loader.js";

const help = `usage: matryoshka vectors [--engine interp|jit] [--stats] < cases > results

Runs single instructions and short blocks from given states and writes the resulting ones, or the exception that came.
docs/vectors.md describes the format. --stats says how many a second on standard error. With --engine jit each case is compiled
and runs as WebAssembly of its own, which is slow; repeated string instructions and 16-bit code are interpreted.
`;
// A case has at most 1 MiB.
const CHUNK = 1 << 20;

function refuse(sentence, status) {
  process.stderr.write(`matryoshka vectors: ${sentence}.\n`);
  return status.badUsage;
}

function writeAll(bytes) {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;  // a pipe that is full for the moment
    }
  }
}

export async function vectorsCommand(module, args, status) {
  let stats = false, compiles = false;
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--help") {
      process.stdout.write(help);
      return status.well;
    }
    if (args[i] === "--stats") {
      stats = true;
    } else if (args[i] !== "--engine" || i + 1 === args.length) {
      return refuse(`there is no option '${args[i]}'; --help lists them`, status);
    } else if (!["interp", "jit"].includes(args[++i])) {
      return refuse(`the WebAssembly build has no engine '${args[i]}', only 'interp' and 'jit'`, status);
    } else {
      compiles = args[i] === "jit";
    }
  }
  const { exports, memory } = instantiateCore(module);
  if (compiles) exports.mx_vectors_compile();
  const bytes = (address, size) => new Uint8Array(memory.buffer, address >>> 0, size >>> 0);
  let held = new Uint8Array(0), running = 0;
  // Answers why no more is read, or nothing.
  const feed = (chunk) => {
    const all = Buffer.concat([held, chunk]);
    bytes(exports.mx_vectors_buffer(all.length), all.length).set(all);
    const began = performance.now();
    const used = guarded(memory, () => exports.mx_vectors_feed(all.length)) >>> 0;
    running += performance.now() - began;
    writeAll(bytes(exports.mx_vectors_results(), exports.mx_vectors_results_size()).slice());
    held = all.subarray(used);
    return new TextDecoder().decode(bytes(exports.mx_vectors_error(), exports.mx_vectors_error_size()).slice());
  };
  try {
    for await (const part of process.stdin) {
      for (let at = 0; at < part.length; at += CHUNK) {
        const error = feed(part.subarray(at, at + CHUNK));
        if (error) return refuse(error, status);
      }
    }
  } catch (error) {
    if (error.code !== "EPIPE") throw error;
    return status.failed;
  }
  if (held.length > 0) return refuse("the input ends inside a case", status);
  if (stats) {
    const count = exports.mx_vectors_count();
    process.stderr.write(`${count} cases, ${Math.round(count / (running / 1000))} a second\n`);
    if (compiles) process.stderr.write(`${exports.mx_vectors_in_regions()} instructions in regions\n`);
  }
  return status.well;
}
