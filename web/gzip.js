// The gzip files that snapshots are, written and read piece by piece with what browsers and Node bring along. cli/gzip.cpp
// does the same for the native build.

import { MachineError } from "./errors.js";

const PIECE = 1 << 20;

export class NotGzip extends Error {}

function transform(Kind) {
  if (typeof Kind !== "function") {
    throw new MachineError("E_OPTIONS", "This browser cannot compress, as snapshots need it; use a current Firefox, Chrome, Edge or Safari");
  }
  return new Kind("gzip");
}

// The compressed pieces of what `pieces` answers. Each piece is asked for when there is room for it.
export function pack(pieces) {
  return through(transform(globalThis.CompressionStream), pieces);
}

// What a file unpacks to, in pieces. Bytes that are not compressed pass as they are; what does not unpack to its end throws
// NotGzip.
export async function* unpack(bytes) {
  const pieces = (function* () {
    for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE);
  })();
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return yield* pieces;
  const stream = transform(globalThis.DecompressionStream);
  try {
    yield* through(stream, pieces);
  } catch (error) {
    throw new NotGzip(error.message);
  }
}

async function* through({ readable, writable }, pieces) {
  const writer = writable.getWriter(), reader = readable.getReader();
  const fed = (async () => {
    for (const piece of pieces) {
      await writer.ready;
      // Both sides hear of an error; the reader reports it.
      writer.write(piece).catch(() => {});
    }
    await writer.close();
  })();
  fed.catch(() => {});
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    await fed;
  } finally {
    reader.cancel().catch(() => {});
    writer.abort().catch(() => {});
  }
}

export function join(pieces) {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
