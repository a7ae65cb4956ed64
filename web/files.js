// Brings the files of a machine: downloads with an exact count of bytes, files that somebody chose, bytes that are there.

import { MachineError } from "./errors.js";

// A file is { name, url } or { name, bytes } or { name, blob }; size and sha256 if they are known. `progress(loaded, total,
// name)` counts over all files. The first file is the core; `compile` makes a module of it while it arrives.
export async function fetchFiles(files, progress, compile) {
  const total = files.reduce((sum, file) => sum + (file.size ?? file.bytes?.length ?? file.blob?.size ?? 0), 0);
  let loaded = 0;
  const count = (name) => (bytes) => {
    loaded += bytes;
    progress(loaded, Math.max(total, loaded), name);
  };
  progress(0, total, files[0].name);
  return Promise.all(files.map(async (file, i) => {
    if (i !== 0) return fetchFile(file, count(file.name));
    if (!file.url) return compile(await fetchFile(file, count(file.name)));
    // The module is compiled from the answer itself, so that the browser can keep its compiled code; a copy is counted.
    const response = await request(file);
    const counted = consume(response.clone(), file, count(file.name));
    counted.catch(() => {});
    const module = await compile(response);
    await counted;
    return module;
  }));
}

// The bytes of one file; `count` hears of each piece.
export async function fetchFile(file, count = () => {}) {
  if (file.url) return consume(await request(file), file, count);
  let bytes;
  try {
    bytes = file.bytes ?? new Uint8Array(await file.blob.arrayBuffer());
  } catch (error) {
    throw new MachineError("E_DOWNLOAD", `The file '${file.name}' could not be read (${error.message}); choose it again`, { file: file.name });
  }
  count(bytes.length);
  return bytes;
}

async function request(file) {
  let response;
  try {
    response = await fetch(file.url);
  } catch {
    throw new MachineError("E_DOWNLOAD", `The download of '${file.name}' failed; look at the connection and try again`, { file: file.name });
  }
  if (!response.ok) {
    throw new MachineError("E_DOWNLOAD", `The download of '${file.name}' failed: the server answered ${response.status}; try again later`,
      { file: file.name, status: response.status });
  }
  return response;
}

async function consume(response, file, count) {
  const pieces = [];
  let size = 0;
  try {
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      size += value.length;
      count(value.length);
    }
  } catch {
    throw new MachineError("E_DOWNLOAD", `The download of '${file.name}' broke off after ${size} bytes; look at the connection and try again`,
      { file: file.name });
  }
  if (file.size !== undefined && size !== file.size) {
    throw new MachineError("E_DAMAGED", `The file '${file.name}' has ${size} bytes and should have ${file.size}; reload the page, or publish it again`,
      { file: file.name });
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  // Plain http has no crypto.subtle; there the size must do.
  const subtle = globalThis.crypto?.subtle;
  if (file.sha256 && subtle) {
    const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== file.sha256) {
      throw new MachineError("E_DAMAGED", `The file '${file.name}' is not the one this page was built with; reload the page, or publish it again`,
        { file: file.name });
    }
  }
  return bytes;
}
